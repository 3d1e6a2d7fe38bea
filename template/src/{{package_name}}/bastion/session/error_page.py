"""An error is a plain page with a fixed text and the request's id: nothing of the request or of the inside is in it."""

from __future__ import annotations

from flask import Flask

from ..state import ErrorBody, state_of

PAGE = "bastion/error.html"


def error_body_of(app: Flask) -> ErrorBody:
    """Content type and body of an error page; it needs no request, since the edge refuses before Flask has one."""

    def error_body(
        status: int,
        title: str,
        text: str,
        request_id: str,
        errors: list[dict[str, str]] | None = None,  # noqa: ARG001  (forms show their own field errors)
    ) -> tuple[str, bytes]:
        page = app.jinja_env.get_template(PAGE).render(
            status=status, title=title, text=text, request_id=request_id, service_name=state_of(app).service_name
        )
        return "text/html; charset=utf-8", page.encode()

    return error_body
