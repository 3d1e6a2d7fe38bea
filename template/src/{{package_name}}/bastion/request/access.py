"""Deny by default: each route has exactly one of @public, @login_required, @requires, or the start fails.

A route whose decorator was forgotten would otherwise be open. Here such a route stops the start with its name, file and
line; one that is added after the start answers 403 to every client.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from flask import Flask, request
from flask.typing import ResponseReturnValue
from flask.views import http_method_funcs

from ..audit.refusal import refuse
from ..clock import now
from ..settings import ConfigError
from ..state import state, state_of
from .authentication import current_user

if TYPE_CHECKING:
    from .webhooks import Verifier

V = TypeVar("V", bound=Callable[..., Any])
MARK: Final = "__bastion_access__"
JSON: Final = "__bastion_json__"
AUTOMATIC: Final = frozenset({"HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A route's requirements: none (public), a session, permissions; `fresh`: a recent (re-)authentication.

    `without_factor`: the user may still lack the required second factor, because this route sets it up. `json`: its
    refusals are problem documents. `webhook`: no user calls it, but a foreign system that signs each request.
    """

    public: bool = False
    permissions: frozenset[str] = frozenset()
    fresh: bool = False
    without_factor: bool = False
    json: bool = False
    webhook: Verifier | None = None

    def __str__(self) -> str:
        if self.webhook is not None:
            return f"webhook ({self.webhook.scheme}, secret {self.webhook.secret_name})"
        return f"{self._who()}, answers JSON" if self.json else self._who()

    def _who(self) -> str:
        if self.public:
            return "public"
        needed = f"requires {', '.join(sorted(self.permissions))}" if self.permissions else "login"
        needed += ", fresh" if self.fresh else ""
        return f"{needed}, also before the second factor" if self.without_factor else needed


def mark_with(rule: Rule) -> Callable[[V], V]:
    """Return the decorator that puts this rule on a view function or class."""

    def mark(view: V) -> V:
        target = _function_of(view) if inspect.ismethod(view) else view  # a bound method takes no attribute
        setattr(target, MARK, (*_own_marks(target), rule))
        return cast("V", target)

    return mark


def _function_of(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def function(*args: Any, **values: Any) -> Any:
        return method(*args, **values)

    return function


def _own_marks(of: object) -> tuple[Rule, ...]:
    """Return the marks of this function or class itself; marks of a base class are not inherited."""
    marks: tuple[Rule, ...] = getattr(of, "__dict__", {}).get(MARK, ())
    return marks


public: Final = mark_with(Rule(public=True))
"""Any client may call this view."""


@overload
def login_required(view: V) -> V: ...
@overload
def login_required(*, fresh: bool = False, without_factor: bool = False) -> Callable[[V], V]: ...
def login_required(view: V | None = None, *, fresh: bool = False, without_factor: bool = False) -> V | Callable[[V], V]:
    """Let any signed-in user call this view; with `fresh=True` only shortly after (re-)authentication.

    With `without_factor=True` also a user who has yet to set up a required second factor.
    """
    mark = mark_with(Rule(fresh=fresh, without_factor=without_factor))
    return mark if view is None else mark(view)


def requires(*permissions: str, fresh: bool = False) -> Callable[[V], V]:
    """Let only signed-in users who hold all these permissions, through their roles, call this view."""
    if not permissions or not all(isinstance(p, str) and p for p in permissions):
        raise TypeError('requires() takes the names of permissions, as in @requires("reports.read")')
    return mark_with(Rule(permissions=frozenset(permissions), fresh=fresh))


def answers_json(view: V) -> V:
    """Declare that a program calls this view: each refusal of a request to it is a problem document, never a page.

    It fixes only the form of refusals, also of those before the view: 400 without a CSRF token, and 401 in place of the
    redirects to sign-in, second factor and re-authentication; WWW-Authenticate names that page. Who may call the view,
    and how they prove it, stays as it is. 404, 405 and refusals of the edge are pages still (session style).
    """
    setattr(view, JSON, True)
    return view


def expects_json() -> bool:
    """Return whether this request's route answers refusals as problem documents."""
    rule = state().rules.get(request.endpoint or "")
    return rule is not None and rule.json


def marks_of(view: object) -> tuple[Rule, ...]:
    """Return the rules of a view function and of the class behind it; a base class gives none."""
    return (*_own_marks(view), *_own_marks(getattr(view, "view_class", None)))


def _marked_methods(view: object) -> list[str]:
    """Return the methods of a view class that carry a mark, which has no effect: Flask calls them without a check."""
    cls = getattr(view, "view_class", None)
    if cls is None:
        return []
    names = {"dispatch_request", *http_method_funcs, *(method.lower() for method in cls.methods or ())}
    return sorted(name for name in names if _own_marks(getattr(cls, name, None)))


def _place(view: Any) -> str:
    inner = inspect.unwrap(getattr(view, "view_class", view))
    try:
        return f"{inspect.getsourcefile(inner)}:{inspect.getsourcelines(inner)[1]}"
    except (OSError, TypeError):
        return "place unknown"


_OF_FOLDER: Final = (
    " It is the static folder of a blueprint; after registering that: "
    "app.view_functions[{0!r}] = public(app.view_functions[{0!r}])"
)


_PARAMETER: Final = re.compile(r"<(?:(?:default|string):|([^<>]*:))?[^<>:]*>")


def _doubled(app: Flask) -> Iterator[str]:
    """Report views hidden by another one at the same address and method: one never runs, and its rule never applies."""
    first: dict[tuple[str, str, str], str] = {}
    for rule in app.url_map.iter_rules():
        place = f"{rule.host or rule.subdomain or ''}", _PARAMETER.sub(r"<\1>", rule.rule)
        for method in sorted((rule.methods or set()) - AUTOMATIC) if not rule.build_only else ():
            other = first.setdefault((*place, method), rule.endpoint)
            if other != rule.endpoint:
                places = [_place(app.view_functions.get(endpoint)) for endpoint in (other, rule.endpoint)]
                yield (
                    f"The routes {other!r} ({places[0]}) and {rule.endpoint!r} ({places[1]}) both answer {method} "
                    f"{rule.rule}, so one of them never runs. Give it an address of its own, or remove it."
                )


def _faults(app: Flask, endpoints: Iterable[str]) -> Iterator[str]:
    for endpoint in sorted(endpoints):
        view = app.view_functions.get(endpoint)
        if misplaced := _marked_methods(view):
            yield (
                f"The route {endpoint!r} ({_place(view)}) has an access rule on {', '.join(misplaced)}, where it has "
                "no effect. Put it on the class or in its decorators; methods that need other rules need classes of "
                "their own."
            )
            continue
        number = len(marks_of(view))
        if number != 1:
            wrong = "has no access rule" if number == 0 else f"has {number} access rules"
            yield (
                f"The route {endpoint!r} ({_place(view)}) {wrong}. "
                "Put exactly one of @public, @login_required, @requires(...), @webhook(...) on it."
            ) + (_OF_FOLDER.format(endpoint) if inspect.ismethod(view) and endpoint.endswith(".static") else "")
    yield from _doubled(app)


def seal(app: Flask) -> None:
    """Fix the rule of each route; raise ConfigError naming every route without exactly one, and hidden routes."""
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    if faults := [*_faults(app, endpoints)]:
        raise ConfigError(faults)
    state_of(app).rules = {endpoint: _sealed(app.view_functions[endpoint]) for endpoint in endpoints}


def _sealed(view: object) -> Rule:
    [rule] = marks_of(view)
    json = hasattr(view, JSON) or hasattr(getattr(view, "view_class", None), JSON)
    return replace(rule, json=rule.json or json)


Answer = Callable[[], ResponseReturnValue]


def require_access(unauthenticated: Answer, factor_missing: Answer, not_fresh: Answer) -> ResponseReturnValue | None:
    """Let the view run only for users whom its rule allows; HEAD and OPTIONS follow the route's rule."""
    if request.endpoint is None:  # 404 or 405: no view will run
        return None
    rule = state().rules.get(request.endpoint)
    if rule is None:
        refuse(403, "deny-by-default")
    if rule.public:
        return None
    if not current_user.is_authenticated:
        return unauthenticated()
    if current_user.factor_missing and not rule.without_factor:
        return factor_missing()
    if rule.permissions - current_user.permissions:
        refuse(403, "role-required", about={"permission": " ".join(sorted(rule.permissions))})
    # A future time counts as old: after the clock was put back, the session would stay fresh for as long again.
    if rule.fresh and abs(now() - current_user.verified_at) > timedelta(seconds=state().limits.fresh_login_seconds):
        return not_fresh()
    return None


def install(app: Flask, unauthenticated: Answer, factor_missing: Answer, not_fresh: Answer) -> None:
    """Check the route's rule before every view."""

    @app.before_request
    def check_access() -> ResponseReturnValue | None:
        return require_access(unauthenticated, factor_missing, not_fresh)

    if "static" in app.view_functions:  # Flask's own view of the team's static folder
        public(app.view_functions["static"])


def table(app: Flask) -> str:
    """Return every route with its methods and rule, as a Markdown table."""
    lines = ["| path | methods | who |", "|---|---|---|"]
    for rule in sorted(app.url_map.iter_rules(), key=lambda r: (r.rule, r.endpoint)):
        methods = ", ".join(sorted((rule.methods or set()) - AUTOMATIC))
        path = rule.rule.replace("|", "\\|")
        lines.append(f"| `{path}` | {methods} | {state_of(app).rules[rule.endpoint]} |")
    return "\n".join(lines) + "\n"


def document(app: Flask) -> str:
    """Return docs/access.md. A test compares it with the file, so that opening a route is a reviewed change."""
    return f"# Who may call which route\n\nWritten by `uv run {state_of(app).service_name} dev access`.\n\n{table(app)}"


TABLE_FILE: Final = Path("docs/access.md")
