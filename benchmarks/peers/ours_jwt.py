"""Ours, jwt style, every protection on: the call of feature/call.py in a rendered service."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

from . import Person, _ours
from ._ours import create_app

__all__ = ["PATH", "create_app", "sign_in"]

PATH = "/benchmark"


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    issue = _ours.module("bastion.jwt.tokens").issue_access_token
    return [{"Authorization": f"Bearer {issue(one.user_id, one.session_id)}"} for one in _ours.sessions(app, people)]
