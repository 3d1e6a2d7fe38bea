"""Errors are problem documents with fixed members (RFC 9457): request/problem.py makes them for both styles.

A client can't act on an error that is a page.
"""

from flask import Flask

from ..request.problem import CONTENT_TYPE as CONTENT_TYPE
from ..request.problem import error_body as error_body
from ..state import ErrorBody


def error_body_of(_app: Flask) -> ErrorBody:
    """Return the same maker of errors for every app."""
    return error_body
