"""Proofs of start/guards.py for JSON: team code cannot switch off the handlers that turn errors into problem documents.

They stop a debugging setting for one view from changing the answers to every client.
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
    """Flask raises trapped HTTP errors as faults of the service, and a client then retries a refused request."""
    works(service.start().app is not None, "the service starts with the configuration of the layers")
    for name in ("TRAP_HTTP_EXCEPTIONS", "TRAP_BAD_REQUEST_ERRORS"):

        def trap(app: Flask, name: str = name) -> Any:
            app.config[name] = True

        service._additions[:] = [trap]
        tried = service.start()
        harm(tried.app is not None, f"the service started with a changed {name}")
        assert tried.reasons == [
            f"app.config[{name!r}] was changed, and a protection depends on it. Leave it as it is."
        ]
