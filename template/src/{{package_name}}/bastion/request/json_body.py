"""Strict JSON: every view reads JSON with one strict parser, which refuses bad input before the view sees it.

A view with its own parser accepts input that the others refuse (text/strict_json.py).
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Request

from ..audit.refusal import refuse
from ..state import state
from ..text.strict_json import loads
from . import inputs


class _Reader:
    @staticmethod
    def loads(data: bytes) -> Any:
        most = state().limits.json_values_per_body
        return loads(data, top=list if data.lstrip()[:1] == b"[" else dict, most_values=most)


class StrictRequest(Request):
    """Makes `request.get_json()` strict; unreadable JSON is refused with 400, another content type with 415."""

    @property
    def json_module(self) -> Any:
        """Return the parser of `get_json`."""
        return _Reader

    @json_module.setter
    def json_module(self, _given: Any) -> None:
        """Ignore Flask's assignment of the app's own reader, which is made for the service's own data."""

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Refuse with 400, logged under this protection's id; with 415 for another content type (`e` is None)."""
        if e is None:
            refuse(415, inputs.TYPE)
        refuse(400, "json-strict")


def install(app: Flask) -> None:
    """Make every view read JSON in this one way."""
    app.request_class = StrictRequest
