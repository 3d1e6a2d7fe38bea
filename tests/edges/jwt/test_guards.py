"""Proofs of start/guards.py for JSON: what makes a problem document of each error is there after the team's function.

They stop a line that made one view easier to debug from changing what every client is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...harness import edit, harm, protects, works

if TYPE_CHECKING:
    from flask import Flask

    from ...running import Service


LOCKED = '{"TRAP_HTTP_EXCEPTIONS": False, "TRAP_BAD_REQUEST_ERRORS": None}'


@protects("errors-one-format", trapped=edit("jwt/__init__.py", LOCKED, "{}"))
def test_no_refusal_becomes_an_error_of_the_service(service: Service) -> None:
    """Flask raises what it is told to trap as a fault of the service's own, and a client tries again and again."""
    works(service.start().app is not None, "the configuration of the layers starts")
    for name in ("TRAP_HTTP_EXCEPTIONS", "TRAP_BAD_REQUEST_ERRORS"):

        def trap(app: Flask, name: str = name) -> Any:
            app.config[name] = True

        service._additions[:] = [trap]
        tried = service.start()
        harm(tried.app is not None, f"it started with another {name}")
        assert tried.reasons == [
            f"app.config[{name!r}] was changed, and a protection depends on it. Leave it as it is."
        ]
