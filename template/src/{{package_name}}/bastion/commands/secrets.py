"""`secrets list` shows each secret's presence, age and due rotation, and never a value.

An operator who sees no due date never rotates a key; a list with the keys themselves would serve a thief.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from flask.cli import with_appcontext

from .. import chosen
from ..clock import seconds
from ..crypto.ring import DAY, PURPOSES, RECOMMENDED, STATES, WAIT
from ..secrets import OF_EVERY_SERVICE, OPTIONAL
from ..secrets.kept import Secrets
from ..secrets.secret import Found, SecretMissing, SecretUnavailable
from ..state import state
from ..text import strict_json

COLUMNS: Final = "{:<28}  {:<7}  {:<12}  {:<6}  {}"
Spans = Mapping[str, tuple[float, float]]
"""Maps a secret with a ring to two spans in seconds: until a next key may become active, and a retired one counts."""
OWN: Final[Spans] = {name: (WAIT, purpose.life) for name, purpose in PURPOSES.items()}


@click.group("secrets")
def secrets_group() -> None:
    """Secrets: list."""


@secrets_group.command("list")
@with_appcontext
def list_secrets() -> None:
    """List the secrets that this service reads: use, presence, age and due rotation; never a value."""
    service = state()
    names = {**OF_EVERY_SERVICE, **chosen.dialect.SECRETS, **chosen.style.SECRETS, **service.team.secrets, **OPTIONAL}
    for line in lines(service.secrets, names, chosen.style.RINGS):
        click.echo(line)


def lines(opened: Secrets, names: Mapping[str, str], spans: Spans) -> Iterator[str]:
    """Yield a table of these secrets, each with its use; `spans` are those of the chosen style's rings."""
    spans = {**OWN, **spans}
    yield f"From {opened.where}"
    yield COLUMNS.format("SECRET", "", "VERSION", "AGE", "DUE")
    for name, does in names.items():
        try:
            found = opened.found(name)
        except SecretMissing:
            yield COLUMNS.format(name, "absent", "-", "-", "-")
            yield f"    {does}"
        except SecretUnavailable as away:
            yield COLUMNS.format(name, "away", "-", "-", f"{opened.where} {away.fault}")
            yield f"    {does}"
        else:
            yield from _present(name, does, found, spans.get(name))


def _present(name: str, does: str, found: Found, span: tuple[float, float] | None) -> Iterator[str]:
    moment, keys = seconds(), _keys(found)
    since = next((jwk["since"] for jwk in keys if jwk["status"] == "active"), found.changed_at)
    age = None if since is None else moment - since
    due = "-"
    if found.ends_at is not None:
        due = f"ends in {_span(found.ends_at - moment)}"
    elif span is not None:
        left = None if age is None else RECOMMENDED * DAY - age
        due = f"every {RECOMMENDED} d" if left is None else f"in {_span(left)}" if left > 0 else "another key, now"
    yield COLUMNS.format(name, "present", found.version[:12] or "-", "-" if age is None else _span(age), due)
    yield f"    {does}"
    for number, jwk in enumerate(keys, 1):
        yield f"    key {number}: {_state(jwk['status'], moment - jwk['since'], span)}"


def _keys(found: Found) -> list[dict[str, Any]]:
    """Return state and time of each key, if the secret is a ring."""
    try:
        listed = strict_json.loads(found.value.reveal().encode("utf-8", "surrogatepass")).get("keys")
    except strict_json.InvalidJSON:
        return []
    keys = [jwk for jwk in listed if isinstance(jwk, dict)] if isinstance(listed, list) else []
    return [jwk for jwk in keys if jwk.get("status") in STATES and isinstance(jwk.get("since"), int)]


def _state(status: str, age: float, span: tuple[float, float] | None) -> str:
    text = f"{status} for {_span(age)}"
    if span is None or status == "active":
        return text
    left = span[STATES.index(status) - 1] - age
    if status == "next":
        return f"{text}, can become active {'now' if left <= 0 else f'in {_span(left)}'}"
    return f"{text}, {'no longer needed' if left <= 0 else f'needed for {_span(left)}'}"


def _span(length: float) -> str:
    """Return a length of time in its largest unit."""
    for unit, size in (("d", DAY), ("h", 3600), ("min", 60)):
        if length >= size:
            return f"{int(length // size)} {unit}"
    return f"{max(0, int(length))} s"
