"""Ours, session style, every protection on: the page of feature/page.py in a rendered service."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

from . import Person, _ours, session_cookie
from ._ours import create_app

__all__ = ["PATH", "create_app", "sign_in"]

PATH = "/benchmark"


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    from flask import session

    token = _ours.module("bastion.session.cookie").TOKEN
    return [
        session_cookie(app, one.person, lambda one=one: session.update({token: one.token}))  # type: ignore[misc]
        for one in _ours.sessions(app, people)
    ]
