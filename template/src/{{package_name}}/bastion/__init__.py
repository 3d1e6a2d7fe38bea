# Owned by the template (flask-bastion): `copier update` replaces this folder. Extend it from outside: register,
# subclass, override a page of the same name, declare a limit in ../exceptions.toml.
"""App factory: apply every protection in one place and in a fixed order, then seal the routes.

A protection that each team adds by hand is missing from the service that was started in a hurry. Here the team's
function runs between the layers and the seal, so there is no last call to forget.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flask import Flask, Response, send_from_directory
from flask.typing import ResponseReturnValue
from pydantic_settings import BaseSettings
from werkzeug.datastructures import ImmutableDict
from werkzeug.exceptions import HTTPException

from . import audit, chosen, database, edge, files, log, secrets, throttle
from .crypto.ring import Rings
from .delivery import letters, transport
from .delivery.letters import text_mail
from .delivery.transport import hand_over
from .identity.account import before_deletion
from .identity.passwords import Passwords
from .identity.principal import Principal
from .identity.users import Account, find_user
from .request import access, authentication, cross_site, errors, inputs, json_body, paths, security_txt, webhooks
from .request.access import answers_json, login_required, public, requires
from .request.authentication import current_user
from .request.inputs import takes_lists
from .request.limits import limited
from .request.outbound import Fetched, FetchError, safe_fetch
from .request.queries import owned, owned_or_404
from .request.scope import Scoped, visible_or_404
from .request.webhooks import github, standard_webhooks, stripe, webhook
from .settings import BastionSettings, ConfigError, TeamSettings, exceptions
from .start import guards
from .state import EXTENSION, State

__all__ = [
    "Account",
    "ConfigError",
    "FetchError",
    "Fetched",
    "Principal",
    "Scoped",
    "answers_json",
    "audit",
    "before_deletion",
    "current_user",
    "files",
    "find_user",
    "github",
    "hand_over",
    "limited",
    "login_required",
    "owned",
    "owned_or_404",
    "public",
    "requires",
    "safe_fetch",
    "secrets",
    "service",
    "sign_in",
    "standard_webhooks",
    "stripe",
    "takes_lists",
    "text_mail",
    "visible_or_404",
    "webhook",
]

sign_in: Final = chosen.style.sign_in
Extend = Callable[[Flask], None]
STATIC_SECONDS: Final = 3600  # how long a browser may keep a file of the static folder without asking


class Factory:
    """The app factory that `@service(Settings)` returns; called without arguments, it returns the finished app."""

    __wrapped__: Extend

    def __init__(self, extend: Extend, settings_class: type[TeamSettings]) -> None:
        functools.update_wrapper(self, extend)
        self.settings_class: Final = settings_class

    def __call__(self, *, migrates: bool = False) -> Flask:
        """Build the app with every layer. Raise ConfigError with all reasons if the start would be unsafe.

        `migrates` (only for the commands `db ...`) connects to the database as the role that owns the tables.
        """
        return _build(self.__wrapped__, self.settings_class, migrates=migrates)


def service(settings_class: type[TeamSettings]) -> Callable[[Extend], Factory]:
    """Turn the function that adds a team's routes into the factory of its protected service."""
    return lambda extend: Factory(extend, settings_class)


class _App(Flask):
    # A view answers the methods that it names. Here and not in app.config: Flask's static route is made before that.
    default_config = ImmutableDict({**Flask.default_config, "PROVIDE_AUTOMATIC_OPTIONS": False})

    def handle_user_exception(self, e: Exception) -> HTTPException | ResponseReturnValue:
        """Clear the stack's local variables before an error collector sees the error: see log.forget_locals."""
        log.forget_locals(e)
        return super().handle_user_exception(e)

    def handle_exception(self, e: Exception) -> Response:
        """Do the same for errors outside of views, such as an unreadable cookie."""
        log.forget_locals(e)
        return super().handle_exception(e)

    def send_static_file(self, filename: str) -> Response:
        """Serve a file of the team's static folder with a cache lifetime; other files get none by default."""
        return send_from_directory(str(self.static_folder), filename, max_age=STATIC_SECONDS)


def _build(extend: Extend, settings_class: type[TeamSettings], *, migrates: bool) -> Flask:
    package = extend.__module__.rpartition(".")[0]
    app = _App(
        package,
        static_folder="static" if chosen.style.PAGE_POLICY else None,
        instance_path=str(Path.cwd() / "instance"),
    )
    # Flask checks at each call of a hook whether it is a coroutine; a function does not change, so cache the result.
    app.ensure_sync = functools.lru_cache(512)(app.ensure_sync)  # type: ignore[method-assign]
    state, target = _decide(app, settings_class, migrates=migrates)
    style, settings = chosen.style, state.settings

    # First: from here on every log line is filtered.
    log.configure(settings.log_level, readable=not settings.production)
    audit.install(app)  # before the database: rows written at a request's end come after the roll-back
    engine = database.install(app, target, state.secrets)
    errors.install(app)  # before every layer, so that each may refuse
    json_body.install(app)  # one reader of JSON for every view
    paths.install(app)  # before the first route
    files.install(app)  # before the first look into a body
    inputs.install(app)  # the first of the layers that read a request
    webhooks.install(app)  # whose signature, before anything is parsed or who it is depends on a cookie
    authentication.install(app, style.authenticate)  # who it is, before anything is decided by it
    throttle.install(app)
    authentication.count(app)  # for each session, before any work for it
    # The request's origin, before its token is read; clients that are not browsers send none.
    cross_site.install(app, accept_without_origin=not style.PAGE_POLICY)
    style.install(app)  # CSRF, and the routes of signing in
    # Last before the view: check the route's access rule.
    access.install(app, style.unauthenticated, style.factor_missing, style.not_fresh)
    security_txt.install(app)
    letters.install(app)  # the texts of mails, the team's over ours
    before = guards.installed(app, locked=style.LOCKED, pages=style.PAGE_POLICY)
    extend(app)  # what the team adds
    style.finish(app)
    changed = guards.check_app(app, before, production=settings.production, pages=style.PAGE_POLICY)
    changed += webhooks.faults(app)
    changed += [] if migrates else files.faults(app)  # a migration needs no folder
    if changed := [*changed, *state.passwords.weaknesses()]:
        raise ConfigError(changed)
    # Outside Flask and outside any wrapper of the team: hosts, ceilings, sizes, headers on every answer.
    edge.install(
        app,
        ready=database.readiness(engine),
        texts=errors.TEXTS,
        page_policy=style.PAGE_POLICY,
        session_of=style.signed_session,
        body_limit=files.body_limit_of(app),
    )
    access.seal(app)  # nothing without a rule, and nothing more
    return app


def _decide(app: Flask, settings_class: type[TeamSettings], *, migrates: bool) -> tuple[State, database.Target]:
    """Read settings, exceptions and secrets, and refuse an unsafe start with all reasons at once."""
    reasons: list[str] = []
    found: dict[type[BaseSettings], BaseSettings] = {}
    classes: tuple[type[BaseSettings], ...] = (
        BastionSettings,
        chosen.style.Settings,
        chosen.backend.Settings,
        settings_class,
    )
    for cls in classes:
        read, faults = guards.read(cls)
        reasons += faults
        if read is not None:
            found[cls] = read
    unreadable = tuple(reason.partition(":")[0] for reason in reasons)  # reported once, not by a guard again
    reasons += guards.unknown_variables(guards.known_variables(*classes[:-1]), os.environ)
    declared = exceptions.read(Path(app.root_path) / exceptions.FILE)
    reasons += declared.reasons
    settings, backend = found.get(BastionSettings), found.get(chosen.backend.Settings)
    style = found.get(chosen.style.Settings)
    if not isinstance(settings, BastionSettings) or not isinstance(backend, chosen.backend.Settings):
        raise ConfigError(reasons)
    if not isinstance(style, chosen.style.Settings):
        raise ConfigError(reasons)
    if faults := [
        *chosen.backend.check(backend, production=settings.production, database_users=bool(chosen.dialect.SECRETS))
    ]:
        raise ConfigError(reasons + faults)  # no request to a backend that could be forged
    opened = chosen.backend.open_secrets(backend)
    opened.on_outage = audit.backend_unavailable
    opens = database.secrets_of(settings, chosen.dialect, migrates=migrates)
    required = {**secrets.OF_EVERY_SERVICE, **opens, **chosen.style.SECRETS, **settings_class.secrets}
    try:
        reasons += [
            reason
            for reason in (
                *guards.reasons(guards.Start(settings, opened, required)),
                *database.check_owner(opened, chosen.dialect, migrates=migrates, here=chosen.backend.HERE),
                *chosen.backend.misplaced((*required, *secrets.OPTIONAL)),
                *chosen.style.check(settings, style, opened),
                *chosen.dialect.check(settings),
                *transport.check(settings, opened),
            )
            if not reason.startswith(unreadable)
        ]
        if not any("DATABASE_" in reason or "MIGRATION_" in reason for reason in reasons):
            reasons += database.unreachable(settings, chosen.dialect, opened, migrates=migrates)
    except secrets.SecretUnavailable as away:
        reasons.append(f"{away}. Check that it runs, its address, and what this service may read there.")
    if reasons:
        raise ConfigError(reasons)
    team = found[settings_class]
    state = State(
        settings=settings,
        style=style,
        team=team if isinstance(team, TeamSettings) else TeamSettings(),
        limits=declared.limits,
        image_origins=declared.image_origins,
        font_origins=declared.font_origins,
        frame_ancestors=declared.frame_ancestors,
        exemptions=declared.exemptions,
        secrets=opened,
        rings=Rings(opened),
        passwords=Passwords(concurrency=settings.hash_concurrency, threads=settings.threads),
        dialect=chosen.dialect,
        mailed_link=chosen.style.mailed_link,
        error_body=chosen.style.error_body_of(app),
        service_name=app.import_name.replace("_", "-"),
        security_contact=chosen.SECURITY_CONTACT,
    )
    app.extensions[EXTENSION] = state
    return state, database.target_of(settings, chosen.dialect, migrates=migrates)
