"""Unit tests beside the proofs in test_headers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..service import AUTH

if TYPE_CHECKING:
    from flask import Flask

    from ..running import Service


# --- what is no page -------------------------------------------------------------------------------------------


def test_all_that_an_answer_differs_by_is_said_in_one_header(service: Service) -> None:
    def of_a_team(app: Flask) -> None:
        inner: Any = app.wsgi_app

        def by_team(environ: Any, start_response: Any) -> Any:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                return start_response(status, [*headers, ("Vary", "X-Team"), ("Vary", "Accept-Language")], *more)

            return inner(environ, start if environ["PATH_INFO"] == "/varies" else start_response)

        app.wsgi_app = by_team  # type: ignore[method-assign]

    service.adds_route("/varies", mark="public")
    service.adds_route("/plain", mark="public")
    service.adds(of_a_team)
    client = service.client()
    said, plain = ([one for one in client.get(path).headers if one[0] == "Vary"] for path in ("/varies", "/plain"))
    ours = {"session": "Cookie", "jwt": "Authorization"}[AUTH]
    [(_, names)] = said
    assert {*names.split(", ")} == {"X-Team", "Accept-Language", ours}
    assert plain == [("Vary", ours)]
