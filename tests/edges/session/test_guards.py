"""Proofs of start/guards.py for pages: the team's function cannot turn off escaping or the CSRF check.

They stop a line that made one template or one test easier from exposing every page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...harness import edit, harm, protects, works

if TYPE_CHECKING:
    from flask import Flask

    from ...running import Service


CHANGED = "was changed, and a protection depends on it. Leave it as it is."
PARTS = '    if pages:\n        parts["jinja_env'


@protects("autoescape-all-templates", replaced=edit("start/guards.py", PARTS, PARTS.replace("pages", "False")))
def test_escaping_is_not_turned_off_for_the_whole_service(service: Service) -> None:
    from jinja2 import Undefined

    changes: dict[str, Callable[[Flask], Any]] = {
        "autoescape": lambda app: setattr(app.jinja_env, "autoescape", False),
        "undefined": lambda app: setattr(app.jinja_env, "undefined", Undefined),
    }
    works(service.start().app is not None, "the service starts with its own template environment")
    for name, change in changes.items():
        service._additions[:] = [change]
        tried = service.start()
        harm(tried.app is not None, f"the service started with a changed jinja_env.{name}")
        assert tried.reasons == [f"app.jinja_env.{name} {CHANGED}"]


@protects("csrf-token-required", weakened=edit("start/guards.py", '"WTF_CSRF_", ', ""))
def test_the_check_of_form_tokens_is_not_weakened(service: Service) -> None:
    changes: list[tuple[str, Callable[[Flask], Any]]] = [
        ("WTF_CSRF_TIME_LIMIT", lambda app: app.config.update(WTF_CSRF_TIME_LIMIT=None)),
        ("WTF_CSRF_SECRET_KEY", lambda app: app.config.update(WTF_CSRF_SECRET_KEY="dev-canary")),
        ("WTF_CSRF_SECRET_KEY", lambda app: app.config.update(WTF_CSRF_SECRET_KEY=["dev-canary"])),
        ("WTF_CSRF_METHODS", lambda app: app.config["WTF_CSRF_METHODS"].clear()),
        ("WTF_CSRF_ENABLED", lambda app: app.config.update(WTF_CSRF_ENABLED=False)),
    ]
    works(service.start().app is not None, "the service starts with its own configuration")
    for name, change in changes:
        service._additions[:] = [change]
        tried = service.start()
        harm(tried.app is not None, f"the service started with a changed {name}")
        assert tried.reasons == [f"app.config[{name!r}] {CHANGED}"]
        assert "canary" not in tried.text
