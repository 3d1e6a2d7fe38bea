"""Start guards: refuse an unsafe start with all reasons; each names setting and remedy, and shows no value.

A service that starts with a guessable key, an open host list or the debugger on looks like one that is protected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, TypeVar

from flask import Flask
from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsError

from .. import log
from ..crypto import encryption, ring
from ..edge.hosts import LOCAL, Hosts
from ..secrets import OPTIONAL, SecretMissing, Secrets, same
from ..secrets.guessable import weakness
from ..settings import ORIGIN, BastionSettings, variables
from ..state import state_of

S = TypeVar("S", bound=BaseSettings)
WIDEST: Final = {4: 8, 6: 16}  # bits of a network of proxies: 10.0.0.0/8; the private ones of IPv6 may be wider
DEBUG_FLAGS: Final = ("DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS", "TEMPLATES_AUTO_RELOAD", "EXPLAIN_TEMPLATE_LOADING")
# Configuration that the layers read, or set for Flask and its extensions.
PROTECTING: Final = ("SECRET_KEY", "SESSION_", "WTF_CSRF_", "MAX_CONTENT_LENGTH", "TRUSTED_HOSTS")
MAKE_KEY: Final = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
PUT_BACK: Final = "Remove it, or put back the key that was used."
_HOST: Final = re.compile(r"\A\.?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")


@dataclass(frozen=True, slots=True)
class Start:
    """The input of the guards."""

    settings: BastionSettings
    secrets: Secrets
    required: Mapping[str, str]
    """Names of secrets, each with its use."""


def check_secrets_present(start: Start) -> Iterator[str]:
    """Report each missing required secret, and each optional one that exists but can't be read."""
    for name, does in start.required.items():
        try:
            start.secrets.get(name)
        except SecretMissing as missing:
            in_a_file = "" if start.settings.production else f", or write it to instance/secrets/{name}"
            yield f"{missing}. It {does}. Set it there{in_a_file}."
    for name in OPTIONAL:
        if start.secrets.find(name) is None and (why := start.secrets.unusable(name)):
            yield f"{name} {why}."


def check_keys(start: Start) -> Iterator[str]:
    """Report each key of a ring that can be guessed, occurs twice or serves two purposes; former keys as well."""
    others: list[ring.Key] = []
    for name, purpose in ring.PURPOSES.items():
        text = start.secrets.find(name) if name in start.required else None
        if text is None:
            continue
        try:
            keys = ring.parse(name, text.reveal()).keys
        except ring.InvalidRing as error:
            yield from (f"{which} {fault}. {_cure(which)}" for which, fault in error.faults)
            continue
        for key in keys:
            if twin := next((other for other in others if same(key.text, other.text)), None):
                yield f"{key.name} equals {twin.name}; one key is for one purpose. {_cure(key.name)}"
        if purpose.exact:
            yield from _ids(keys)
        others += keys


def _ids(keys: Iterable[ring.Key]) -> Iterator[str]:
    """Report keys with equal ids: a stored value names its key by four bytes."""
    ids: dict[bytes, str] = {}
    for key in keys:
        header = encryption.header_of(ring.bytes_of(key.text))
        if header in ids:
            yield f"{key.name} has the id of {ids[header]}. {_cure(key.name)}"
        ids[header] = key.name


def _cure(which: str) -> str:
    if which in ring.PURPOSES:
        return MAKE_KEY
    return "Put back the one that was used." if which.endswith(ring.WHOLE) else PUT_BACK


def check_passwords(start: Start) -> Iterator[str]:
    """Report a database password that can be guessed."""
    for name in ("DATABASE_PASSWORD", "MIGRATION_PASSWORD"):
        if name not in start.required or start.secrets.find(name) is None:
            continue
        found = start.secrets.found(name)
        made = found.user is not None  # by the backend: random, in its own length, and not for long
        if not made and (fault := weakness(found.value.reveal())):
            yield f"{name} {fault}. {MAKE_KEY}"


def check_hosts(start: Start) -> Iterator[str]:
    """Report missing or unsafe host names and public origin: no header may choose a link's or token's target."""
    settings = start.settings
    hosts = [host.lower() for host in settings.trusted_hosts]
    faults: list[str] = []
    if not hosts:
        faults.append(
            "BASTION_TRUSTED_HOSTS is empty. Name the hosts of this service, as in app.example,www.app.example."
        )
    for number, host in enumerate(hosts, 1):
        if host == "*" or (host.startswith(".") and "." not in host[1:]):
            faults.append(f"BASTION_TRUSTED_HOSTS: entry {number} trusts everybody's names. Name this service's hosts.")
        elif host in ("localhost", "127.0.0.1", "[::1]"):
            faults.append(f"BASTION_TRUSTED_HOSTS: entry {number} is this machine. Name the public host.")
        elif not _HOST.match(host):
            faults.append(f"BASTION_TRUSTED_HOSTS: entry {number} is no host name. Leave out scheme, port and path.")
    yield from faults
    named = Hosts(hosts, settings.public_origin, production=True)
    if not ORIGIN.match(settings.public_origin):
        yield "BASTION_PUBLIC_ORIGIN is no https origin. Write it as in https://app.example, without a path."
    elif not faults and not named.trusts(settings.public_origin.removeprefix("https://")):
        # Compared only with a valid list, so that one fault gives one reason.
        yield "BASTION_PUBLIC_ORIGIN: its host is not in BASTION_TRUSTED_HOSTS. Add it there."


def check_cors(start: Start) -> Iterator[str]:
    """Report origins that are not exact: wildcards, patterns, and `null`, which any sandboxed frame has."""
    for number, origin in enumerate(start.settings.cors_origins, 1):
        local = not start.settings.production and LOCAL.match(origin.removeprefix("http://"))
        if not (ORIGIN.match(origin) or local):
            yield (
                f"BASTION_CORS_ORIGINS: entry {number} is no https origin. Write it as in https://client.example, "
                "without a path."
            )


def check_proxies(start: Start) -> Iterator[str]:
    """Report missing proxy settings, or too wide ones: they decide which peers may set the client's address."""
    settings = start.settings
    if settings.proxy_hops is None:
        yield "BASTION_PROXY_HOPS is not set. Count the proxies in front of this service (0 to 3)."
    if settings.proxy_hops and not (settings.trusted_proxies or settings.bind.startswith("unix:")):
        yield "BASTION_TRUSTED_PROXIES is empty though there are proxies. Name their networks, as in 10.0.0.0/8."
    if any(one.prefixlen < WIDEST[one.version] and not one.is_private for one in settings.trusted_proxies):
        yield "BASTION_TRUSTED_PROXIES trusts everybody's addresses. Name the proxies' own networks."


def check_debug(_start: Start) -> Iterator[str]:
    """Report Flask's debugger, which runs code for any client that reaches it."""
    if os.environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no"):
        yield "FLASK_DEBUG is on. Unset it; for development run `dev`."


def check_server(start: Start) -> Iterator[str]:
    """Report overridden limits of server/gunicorn.py, and a non-loopback address where no proxy ends TLS."""
    if os.environ.get("GUNICORN_CMD_ARGS"):
        yield "GUNICORN_CMD_ARGS overrides the server's limits. Unset it; the README names the settings of the server."
    if start.settings.proxy_hops == 0 and not _is_local(start.settings.bind):
        yield (
            "BASTION_BIND is not a loopback address, and BASTION_PROXY_HOPS is 0: other machines would send passwords"
            " without TLS. Bind to 127.0.0.1, or count the proxies that end TLS."
        )


def check_bind(start: Start) -> Iterator[str]:
    """Report a non-loopback address in development, which has no https: only this machine may reach it."""
    if not _is_local(start.settings.bind):
        yield "BASTION_BIND is not a loopback address, and BASTION_ENV is development. Unset one of them."


def _is_local(bind: str) -> bool:
    return bind.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]", "unix")


# In development hosts, proxies and debug aids are convenience; secrets are checked in every mode.
ALWAYS: Final[tuple[Callable[[Start], Iterator[str]], ...]] = (
    check_secrets_present,
    check_keys,
    check_passwords,
    check_cors,
)
IN_PRODUCTION: Final[tuple[Callable[[Start], Iterator[str]], ...]] = (
    check_hosts,
    check_proxies,
    check_debug,
    check_server,
)


def reasons(start: Start) -> list[str]:
    """Return every reason against this start."""
    guards = (*ALWAYS, *(IN_PRODUCTION if start.settings.production else (check_bind,)))
    return [reason for guard in guards for reason in guard(start)]


def read(cls: type[S]) -> tuple[S | None, list[str]]:
    """Read the settings of a class; return them with their faults (variable and requirement, never the value).

    A wrong setting gets its default in the result, so that the other guards can report further faults. The result is
    None when there is no default.
    """
    try:
        return cls(), []
    except SettingsError as error:  # a list or table that is no JSON; it names the field
        return None, [f"{cls.__name__}: {error}. Correct it."]
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
    wrong = {str(fault["loc"][0]) if fault["loc"] else "": fault["msg"] for fault in faults}
    prefix = cls.model_config.get("env_prefix", "")
    reasons = [
        f"{name if name.isupper() else f'{prefix}{name}'.upper()}: {message}. Correct it."
        for name, message in wrong.items()
    ]
    defaults = {
        name: info.get_default(call_default_factory=True, validated_data={})
        for field, info in cls.model_fields.items()
        if (name := _name(field, info)) in wrong and not info.is_required()
    }
    try:
        return cls(**defaults), reasons
    except ValidationError:
        return None, reasons


def _name(field: str, info: FieldInfo) -> str:
    alias = info.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field


def unknown_variables(known: frozenset[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Report unknown BASTION_ names: a typo would silently leave the default in force."""
    for name in sorted(environ):
        if name.startswith("BASTION_") and name not in known:
            near = get_close_matches(name, sorted(known), n=1)
            yield f"{name} is not a setting." + (f" Did you mean {near[0]}?" if near else " Remove it.")


@dataclass(frozen=True, slots=True)
class Installed:
    """The state that the layers put on the app before the team's function. It holds keys: never show it."""

    config: Mapping[str, object] = field(repr=False)
    parts: Mapping[str, object] = field(repr=False)
    hooks: tuple[object, ...]
    outlets: frozenset[tuple[str, object]]


def installed(app: Flask, *, locked: Mapping[str, object], pages: bool) -> Installed:
    """Record the present state; `locked` is further configuration with its values, `pages`: there are templates."""
    config = {name: deepcopy(value) for name, value in app.config.items() if name.startswith(PROTECTING)}
    hooks = tuple(app.before_request_funcs[None])
    return Installed({**config, **locked}, _parts(app, pages=pages), hooks, log.outlets())


def _parts(app: Flask, *, pages: bool) -> dict[str, object]:
    parts: dict[str, object] = {
        "request_class": app.request_class,
        "session_interface": app.session_interface,
        "extensions['bastion'].limits": state_of(app).limits,  # only exceptions.toml may loosen them
    }
    if pages:
        parts["jinja_env.autoescape"] = app.jinja_env.autoescape
        parts["jinja_env.undefined"] = app.jinja_env.undefined
    return parts


def check_app(app: Flask, before: Installed, *, production: bool, pages: bool) -> list[str]:
    """Report changed parts of protections and debugging aids, after the team's function."""
    now = _parts(app, pages=pages)
    changed = [
        *(f"app.config[{name!r}]" for name, value in before.config.items() if app.config.get(name) != value),
        *(f"app.{name}" for name, part in before.parts.items() if now[name] != part),
    ]
    found = [f"{name} was changed, and a protection depends on it. Leave it as it is." for name in changed]
    if tuple(app.before_request_funcs[None][: len(before.hooks)]) != before.hooks:
        found.append(
            "app.before_request_funcs was reordered: the protections no longer run first. Add to it with "
            "@app.before_request alone."
        )
    for name in sorted({name for name, _handler in log.outlets() - before.outlets}):
        found.append(
            f"logging: the logger {name!r} got a handler of its own, to which entries go with the secrets in them. "
            "Collect standard output instead."
        )
    if not log.configured():
        found.append(
            "logging: the service's own handler was removed, or its loggers were silenced. Leave logging as it is."
        )
    if not production:
        return found
    for flag in DEBUG_FLAGS:
        if app.config.get(flag):
            found.append(f"{flag} is on. Remove it from the configuration; for development run `dev`.")
    return found


def known_variables(*classes: type[BaseSettings]) -> frozenset[str]:
    """Return the BASTION_ variables that the given settings classes read."""
    return frozenset().union(*(variables(cls) for cls in classes))
