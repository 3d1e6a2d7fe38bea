"""Edges of the proofs in test_forms.py: further attacks on the same protections."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import Phase, example, given, settings, strategies

from ...harness import edit, harm, insert, protects, refused, works
from ...logins import cheap_user
from ...mails import token_for
from ...running import PASSWORD
from ...session import test_forms as core
from ...session.pages import Page
from ...session.test_forms import HIDES, NEXT, ODD, PASSWORD_FIELD, SHOWS, TYPED, has_control
from ...wire import ORIGIN
from ..core import sabotages
from ..test_passkeys import DONE, without_counter
from ..test_passkeys import LOGIN as PASSKEY_LOGIN

if TYPE_CHECKING:
    from ...running import Service
    from ...wire import Response


ROW = "input-validated-typed"
NUMBERS = ("0", "-1", "2147483648", "9223372036854775808", "9" * 400, "1.0", "1e3", "+1", " 1", "1 ", "1_0", "0x1")
NO_NUMBERS = ("", "one", "\u0661", "\uff11", "NaN", "[1]", "null", "true")


@protects(
    "input-validated-typed",
    length=edit(
        "session/forms.py",
        'identifier = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])',
        'identifier = EmailField("Email address", [InputRequired()])',
    ),
)
def test_overlong_credentials_are_not_processed(service: Service) -> None:
    longest = service.module("session.forms").LONGEST_IDENTIFIER
    client = service.client(service.user())
    path, fields = "/login", {"identifier": "x" * longest, "password": "wrong" * 4}
    works(client.post(path, fields).status == 401, "the longest address is looked up")
    counted = service.rows("SELECT count(*) FROM throttle_counter")[0][0]
    works(counted == 1, "the attempt is counted")

    answers = [
        client.post(path, {**fields, **wrong})
        for wrong in (
            {"identifier": "y" * (longest + 1)},
            {"identifier": "y" * 60_000},
            {"password": "y" * 60_000},
            {"identifier": None},
            {"identifier": ""},
            {"password": None},
            {"password": ""},
        )
    ]
    harm(
        service.rows("SELECT count(*) FROM throttle_counter")[0][0] > counted,
        "an overlong or missing credential was looked up",
    )
    assert [answer.status for answer in answers] == [422] * 7
    assert "y" * 1000 not in answers[2].text  # a password is never shown again


@protects(
    "input-validated-typed",
    repeated=edit(
        "session/forms.py",
        'Length(max=LONGEST_TYPED), EqualTo("password", "The two passwords are not the same.")],',
        "Length(max=LONGEST_TYPED)],",
    ),
)
def test_a_mistyped_repetition_changes_no_password(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    new, other = "seven quiet otters row home", "nine slow badgers walk to town"
    works(client.change_password(user.password, new).status == client.DONE["change_password"], "two equal ones pass")
    kept = service.rows("SELECT password_hash FROM auth_user")
    answer = client.change_password(new, other, again=f"{other}s")
    harm(service.rows("SELECT password_hash FROM auth_user") != kept, "a mistyped repetition changed the password")
    assert answer.status == 422


@protects("input-validated-typed")
def test_no_text_as_a_credential_is_an_error_or_another_answer(service: Service) -> None:
    user = service.user()
    works(service.client(user).login(through_form=True).cookie, "the right password is accepted")
    sessions = service.rows("SELECT count(*) FROM auth_session")[0][0]

    text = "a\x01b\u202e\ufffe@\u0130.example"
    answer = service.client(address="192.0.2.20").post("/login", {"identifier": text, "password": text})
    harm(service.rows("SELECT count(*) FROM auth_session")[0][0] != sessions, "a malformed credential signed a user in")
    refused(answer, 401, "login-uniform-failure")


def adds_list(service: Service) -> list[Any]:
    """Add a list as a team writes it; return the query that each run of its view received."""
    arrived: list[Any] = []

    def view() -> Any:
        class Query(service.module("session.forms").ListQuery):  # type: ignore[misc]
            """The first order is the default."""

            sorts = ("newest", "oldest")

        query = Query.read()
        arrived.append((query.page.number, query.q.data, query.sort.data))
        return {"page": query.page.number}

    service.adds_route("/list", view=view)
    return arrived


@protects(
    "input-validated-typed",
    range=edit("session/forms.py", "not 1 <= int(text) <= LARGEST_NUMBER", "not 1 <= int(text)"),
)
def test_invalid_page_search_or_order_is_refused(service: Service) -> None:
    arrived = adds_list(service)
    client = service.client(service.user()).login()
    for query in ({}, {"page": "1"}, {"page": "2147483647"}, {"q": "Zoë"}, {"q": "x" * 100}, {"sort": "oldest"}):
        works(client.get("/list", query=query).status == 200, f"{query} is accepted")
    works(len(arrived) == 6, "the view ran for each query")
    arrived.clear()

    queries: list[dict[str, Any]] = [{"page": text} for text in (*NUMBERS, *NO_NUMBERS)]
    queries += [
        {"q": "x" * 101},
        {"sort": "oldest; DROP TABLE note"},
        {"sort": ""},
    ]
    queries += [{"q": text} for text in ODD if not has_control(text)]  # inputs.py has refused the others
    answers = [client.get("/list", query=query) for query in queries]
    harm(arrived, "the view ran for an invalid query")
    for answer in answers:
        refused(answer, 422, ROW)
    client.get("/list", query={"unknown": "1", "page": "2"})
    assert arrived == [(2, "", "newest")]  # what is not declared is not read


@protects(
    "input-validated-typed", size=edit("session/forms.py", "if query.size.number > LARGEST_PAGE_SIZE:", "if False:")
)
def test_invalid_filter_or_page_size_is_refused(service: Service) -> None:
    forms, arrived = service.module("session.forms"), list[Any]()

    class Filters(forms.ListQuery):  # type: ignore[misc, name-defined]
        """A list with a choice, a date and a flag."""

        state = forms.SelectField(choices={"": "Any", "open": "Open"}, default="")
        since = forms.DateField(validators=[forms.Optional()])
        mine = forms.BooleanField()

    def view() -> Any:
        query = Filters.read()
        arrived.append((query.size.number, query.state.data, str(query.since.data), query.mine.data))
        return query.kept

    service.adds_route("/list", view=view)
    client = service.client(service.user()).login()
    chosen = {"state": "open", "since": "2026-02-28", "mine": "y", "size": "100"}
    works(client.get("/list", query={**chosen, "page": "2", "other": "1"}).json == chosen, "filters are kept for links")
    works(
        client.get("/list", query={"state": "", "since": "", "mine": ""}).json == {},
        "blank filters have their defaults",
    )
    works(arrived == [(100, "open", "2026-02-28", True), (20, "", "None", False)], "the view gets typed values")
    arrived.clear()
    wrong = [{"size": text} for text in ("101", "2147483647", "0", "-1", "")]
    wrong += [{"state": "shut"}, {"since": "2026-02-30"}, {"since": "soon"}]
    answers = [client.get("/list", query=query) for query in wrong]
    harm(arrived, "the view ran for an invalid filter or page size")
    for answer in answers:
        refused(answer, 422, ROW)


@protects(ROW, links=edit("session/forms.py", 'name in self and name != "page"', 'name != "page"'))
def test_undeclared_parameters_stay_out_of_links(service: Service) -> None:
    probe, owner = service.adds_probe(), service.user()
    for number in range(3):
        probe.add(owner, f"item {number}")
    client = service.client(owner).login()
    address = re.compile(r'rel="next" href="([^"]*)"')
    found = address.findall(probe.list(client, size=2, sort="reverse", q="item").text)
    works(
        found == ["/probe?page=2&amp;size=2&amp;sort=reverse&amp;q=item"], "the link to the next page keeps the query"
    )
    found = address.findall(probe.list(client, size=2, _external="1", _scheme="http", _anchor="x").text)
    harm(found[0].startswith("http:"), "a parameter of the address took the encryption from a link")
    assert found == ["/probe?page=2&amp;size=2"]


class CountedPattern:
    """A stand-in for a compiled pattern that counts the texts that reach it."""

    def __init__(self, pattern: Any) -> None:
        self.seen: list[int] = []
        self._pattern = pattern

    def match(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.match(text)

    def search(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.search(text)


@protects(
    "input-validated-typed",
    patterns=edit("session/forms.py", "len(text) > MOST_DIGITS or not _NUMBER", "not _NUMBER"),
)
def test_patterns_are_not_applied_to_long_texts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    adds_list(service)
    client = service.client(service.user()).login()
    counted = {}
    for module, name in (("session.forms", "_NUMBER"), ("session.redirects", "_UNSAFE")):
        counted[name] = CountedPattern(getattr(service.module(module), name))
        monkeypatch.setattr(service.module(module), name, counted[name])
    visitor = service.client()
    works(client.get("/list", query={"page": "12"}).status == 200, "a page number is read")
    works(visitor.get("/login", query={"next": "/account"}).status == 200, "the target of the login is read")
    works([len(one.seen) for one in counted.values()] == [2, 1], "page and size, and the target, each by its pattern")

    answers = [client.get("/list", query={"page": text * 8_000}) for text in ("1", "a")]
    visitor.get("/login", query={"next": "/" + "\\" * 2_000})
    harm([one.seen for one in counted.values() if max(one.seen) > 1000], "a pattern was applied to a long text")
    for answer in answers:
        refused(answer, 422, ROW)


# --- what passkey.js fills in -----------------------------------------------------------------------------------------


@protects(
    "json-strict",
    passkeys=(
        edit("session/factors.py", "strict_json.loads((self", '__import__("json").loads((self'),
        edit("session/factors.py", "except strict_json.InvalidJSON:", "except ZeroDivisionError:"),
    ),
)
def test_ambiguous_passkey_json_is_refused(service: Service) -> None:
    holder = without_counter(service)
    works(holder.uses(PASSKEY_LOGIN).status == DONE[PASSKEY_LOGIN], "a device's passkey answer signs in")
    before, asked = holder.sessions(), holder.asks(PASSKEY_LOGIN)
    answer = json.dumps(holder.device.get(asked.options))
    texts = [f'{{"id": "x", {answer[1:]}', answer[:-1], f"{answer}x", f"[{answer}]", '"x"', "x", "NaN"]
    answers = [asked.client.post("/login/passkey", {"state": asked.state, "credential": text}) for text in texts]
    harm(holder.sessions() - before, "a JSON document with a duplicate name signed in")
    for one in answers:
        refused(one, 400, "json-strict")
    nothing = asked.client.post("/login/passkey", {"state": asked.state, "credential": ""})
    assert (nothing.status, "The device gave no answer." in nothing.text) == (422, True)
    assert asked.gets(json.loads(answer)).status == DONE[PASSKEY_LOGIN]  # its challenge was not spent


# --- password-field-markup --------------------------------------------------------------------------------------------

PURPOSE = {
    ("/login", "password"): "current-password",
    ("/reauth", "password"): "current-password",
    ("/account/password", "current"): "current-password",
    ("/account/password", "password"): "new-password",
    ("/account/password", "again"): "new-password",
    ("/activate", "password"): "new-password",
    ("/activate", "again"): "new-password",
    ("/reset", "password"): "new-password",
    ("/reset", "again"): "new-password",
}
HANDLERS = ("onpaste", "oncopy", "oncut", "ondrop", "oninput", "onkeydown", "oncontextmenu", "readonly", "disabled")


def wrong_in(path: str, answer: Response) -> list[str]:
    """Return the faults of this page's fields; a missing required field is a fault as well."""
    page, found = Page(answer.text), []
    controls = {control.name: control for form in page.forms if form.action == path for control in form.fields()}
    for name, purpose in [(name, purpose) for (known, name), purpose in PURPOSE.items() if known == path]:
        control = controls.get(name)
        if control is None or control.kind != "password" or control.attributes.get("autocomplete") != purpose:
            found.append(f"{path} {name}: it is no {purpose}")
        elif control.value or (control.longest or 256) < 256 or control.attributes.keys() & {*HANDLERS}:
            found.append(f"{path} {name}: it is filled, cut or guarded")
    if path == "/login" and controls["identifier"].attributes.get("autocomplete") != "username webauthn":
        found.append(f"{path}: no field for the name")
    if TYPED in answer.text:
        found.append(f"{path}: what was typed comes back")
    return found


@protects(
    PASSWORD_FIELD,
    type=edit("session/forms.py", f"password = {HIDES}", f"password = {HIDES.replace('PasswordField', 'StringField')}"),
    echo=edit("session/forms.py", f"password = {HIDES}", f"password = {SHOWS}"),
    purpose=edit("session/templates/bastion/login.html", 'autocomplete="current-password"', 'autocomplete="off"'),
    identifier=edit("session/templates/bastion/login.html", 'autocomplete="username webauthn"', 'autocomplete="off"'),
    paste=edit(
        "session/templates/bastion/password.html",
        'field(form.again, autocomplete="new-password")',
        'field(form.again, autocomplete="new-password", onpaste="return false")',
    ),
)
def test_password_fields_suit_managers_and_are_never_prefilled(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user, other = cheap_user(service), cheap_user(service)
    visitor, forgetful = service.client(address="192.0.2.11"), service.client(address="192.0.2.12")
    browser = service.client(user).login()
    visitor.register("new@example.com")
    forgetful.forgot(other.email)
    visitor.open_link("activate", token_for(service, "new@example.com", "activate"))
    forgetful.open_link("reset", token_for(service, other.email, "reset"))
    asking = {
        "/login": service.client(address="192.0.2.13"),
        "/reauth": browser,
        "/account/password": browser,
        "/activate": visitor,
        "/reset": forgetful,
    }
    shown = {path: [client.get(path)] for path, client in asking.items()}
    works([answer.status for [answer] in shown.values()] == [200] * 5, "all five pages with a password are shown")
    wrong = {"identifier": user.email, "password": TYPED, "again": "another one", "current": TYPED}
    for path, client in asking.items():
        names = [name for known, name in (*PURPOSE, ("/login", "identifier")) if known == path]
        shown[path].append(client.post(path, {name: wrong[name] for name in names} | client.shown(path)))
    faults = [fault for path, answers in shown.items() for answer in answers for fault in wrong_in(path, answer)]
    harm(faults, f"password fields have faults: {faults}")
    assert {path: answers[1].status for path, answers in shown.items()} == {
        **dict.fromkeys(shown, 422),
        **{"/login": 401, "/reauth": 403},
    }
    assert browser.change_password(PASSWORD, "seven quiet otters row home").status == browser.DONE["change_password"]


# --- next-same-origin-only --------------------------------------------------------------------------------------------

DROPPED = {ord(c): None for c in "\t\n\r"}


DEFAULT = "/the-default"
HOSTILE = (
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/////evil.example/path",
    "//evil.example\\@app.example",
    "//app.example.evil.example",
    "//app.example:443@evil.example/",
    "//app.example",
    "/\\evil.example",
    "/\\/evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\u00a0//evil.example",
    "/\u200b/evil.example",
    "/\u2028/evil.example",
    "\ufeff//evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https://evil.example",
    "https:///evil.example",
    "HTTPS://evil.example",
    "http://app.example@evil.example",
    "https://app.example@evil.example/",
    "https://app.example.evil.example",
    "https://app.example/account",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "mailto:evil@evil.example",
    "evil.example",
    "@evil.example",
    "/@evil.example",
    ".evil.example",
    "?next=https://evil.example",
    "#https://evil.example",
    "%2f%2fevil.example",
    "%5c%5cevil.example",
    "https%3a%2f%2fevil.example",
    "//[evil.example]",
    "//[::1]",
    "/account\r\nSet-Cookie: x=1",
    "/account\r\n\r\n<script>alert(1)</script>",
    f"/account?{'x' * 512}",
)


def lands_on(location: str) -> str:
    """Return the origin to which a browser goes from this service's page."""
    read = location.strip("".join(map(chr, range(0x21)))).translate(DROPPED)
    scheme, colon, rest = read.partition(":")
    if colon and scheme.lower() in ("http", "https"):
        read = f"{scheme}://{rest.replace(chr(92), '/').lstrip('/')}"
    elif read[:1] in ("/", "\\"):
        start = read.replace("\\", "/")
        read = f"https://{start.lstrip('/')}" if start.startswith("//") else start
    parts = urlsplit(urljoin(f"{ORIGIN}/login", read))
    return f"{parts.scheme}://{parts.netloc}"


PHASES = (Phase.explicit, Phase.generate)  # without shrinking: what was found is told as it is
# Paths of this service: the host is right, but no page is there that a visitor could want after signing in.
NO_PAGE = (
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2f%2fevil.example",
    "/%0d%0aSet-Cookie:x=1",
    "/nowhere",
    "/login",
    "/login?next=https://evil.example",
    "/login/passkey",
    "/login/factor",
    "/logout",
    "/reauth",
    "/csp-report",
    "/account/",
    "/account//evil.example",
    "/account//name",
    "/./account",
)


@protects(
    NEXT,
    backslash=edit("session/redirects.py", '    if "\\\\" in target:\n        return default\n', ""),
)
def test_backslash_is_treated_as_a_slash_in_redirects(service: Service) -> None:
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/any/page", DEFAULT) == "/any/page", "a path is accepted")
        taken = {one: redirects.safe_next(one, DEFAULT) for one in HOSTILE if "\\" in one}
    assert len(taken) >= 5
    outside = [one for one, target in taken.items() if lands_on(target) != ORIGIN]
    harm(outside, f"a browser would leave this service for {outside}")
    assert set(taken.values()) == {DEFAULT}


@protects(
    NEXT,
    page=edit(
        "session/redirects.py",
        '    return target if "@" not in path and _is_page(path) else default\n',
        "    return target\n",
    ),
)
def test_only_an_address_that_has_a_page_is_kept(service: Service) -> None:
    service.adds_route("/posted", methods=("POST",))
    redirects = service.module("session.redirects")
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/account", DEFAULT) == "/account", "a page is accepted")
        taken = {target: redirects.safe_next(target, DEFAULT) for target in (*HOSTILE, *NO_PAGE, "/posted", "", None)}
        above = [redirects.page_of_action(path) for path in ("/account/factors/totp/confirm", "/account", "/x/y")]
    kept = {target: found for target, found in taken.items() if found != DEFAULT}
    harm(kept, f"addresses without a page are accepted: {[*kept]}")
    assert above == ["/account/factors/totp", "/account", None]  # the page of a form that was posted


@protects(
    NEXT,
    again=edit("session/pages.py", "safe_next(session.pop(NEXT, None), start_page())", "session.pop(NEXT, None)"),
)
def test_redirect_target_in_the_cookie_is_checked_again(service: Service) -> None:
    user = service.user()
    credentials = {"identifier": user.email, "password": user.password}
    honest = service.client(user)
    honest.get("/login", query={"next": "/account"})
    works(honest.post("/login", credentials).location == "/account", "the visitor reaches the requested page")
    works("next" not in honest.content(), "the target is used once")
    with service.app.test_request_context("/", base_url=ORIGIN):
        start = service.module("session.pages").start_page()
    # What a former version, or somebody who has the key, has put there.
    for target in ("https://evil.example/login", "//evil.example"):
        visitor = service.client(user)
        visitor.csrf_token()
        visitor.forge(**visitor.content(), next=target)
        answer = visitor.post("/login", {**credentials, "next": "https://evil.example"})
        assert answer.status == 303
        harm(lands_on(answer.location or "") != ORIGIN, f"the login redirects to {answer.location}")
        assert answer.location == start


@protects(
    NEXT,
    check=insert(
        "session/redirects.py",
        after='can be opened with GET, otherwise `default`."""\n',
        new="    return target or default\n",
    ),
)
def test_no_redirect_of_this_service_names_another_host(service: Service) -> None:
    service.adds_route("/deep/page")
    service.adds_route("/folder/")
    visitor = service.client()
    closed = visitor.get("/deep/page?x=1&next=https://evil.example")
    works(closed.location == "/login?next=/deep/page?x%3D1%26next%3Dhttps://evil.example", "the page is kept")
    visitor.get(str(closed.location))
    works(visitor.content()["next"] == "/deep/page?x=1&next=https://evil.example", "the session stores it unchanged")
    paths = ["//evil.example/%2e%2e", "//evil.example/folder", "/folder", "//folder", "/\\evil.example", "/"]
    paths += ["//evil.example/deep/page", "/deep//page", "/deep/page?next=//evil.example", "/folder?//evil.example"]
    for path in paths:
        answer = visitor.get(path, headers={"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"})
        harm(answer.location and lands_on(answer.location) != ORIGIN, f"{path} redirects to {answer.location}")
    for name in ("next", "url", "continue", "return_to", "redirect"):
        for path in ("/login", "/", "/deep/page"):
            fresh = service.client()
            answer = fresh.get(path, query={name: "https://evil.example"})
            harm(answer.location and lands_on(answer.location) != ORIGIN, f"{path}?{name} leads to {answer.location}")
            harm(lands_on(fresh.content().get("next", "/")) != ORIGIN, f"{path}?{name} is stored for the login")


PIECES = (
    "/",
    "//",
    "\\",
    "account",
    "evil.example",
    "https:",
    "javascript:",
    "@",
    "?",
    "#",
    "%2f",
    "%5c",
    "\t",
    "\n",
    ":",
)


@protects(
    NEXT,
    backslash=edit("session/redirects.py", '    if "\\\\" in target:\n        return default\n', ""),
)
def test_no_address_that_anybody_thinks_of_leads_away(service: Service) -> None:
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    texts = strategies.lists(strategies.sampled_from(PIECES) | strategies.text(max_size=5), max_size=8).map("".join)
    with service.app.test_request_context("/login", base_url=ORIGIN):
        works(redirects.safe_next("/any/page", DEFAULT) == "/any/page", "a path is accepted")

        @settings(max_examples=150, derandomize=True, database=None, deadline=None, phases=PHASES)
        @example("/\\evil.example")
        @given(texts)
        def leads_nowhere_else(target: str) -> None:
            taken = redirects.safe_next(target, DEFAULT)
            harm(lands_on(taken) != ORIGIN, f"the foreign target {target!r} was accepted")
            assert taken in (target, DEFAULT)

        leads_nowhere_else()


@protects(
    NEXT,
    **sabotages(core.test_no_link_to_the_login_page_leads_to_another_origin, NEXT, "check"),
)
def test_no_link_to_the_login_page_leads_away_from_this_service(service: Service) -> None:
    # A page for every path, so that no address is refused only because nothing is there.
    service.adds_route("/<path:anything>")
    redirects = service.module("session.redirects")
    user = service.user()
    for target in ("/account", "/items?page=2", "/account#sessions", "/a/%2e%2e/b", "/search?q=https://evil.example"):
        visitor = service.client(user)
        visitor.get("/login", query={"next": target})
        works(visitor.content().get("next") == target, f"{target} is kept for after the login")
    for target in HOSTILE:
        visitor = service.client()
        visitor.get("/login", query={"next": target})
        kept = visitor.content().get("next", "/account")
        harm(lands_on(kept) != ORIGIN, f"after the login, /login?next={target!r} leads to {kept!r}")
        with service.app.test_request_context("/login", base_url=ORIGIN):
            taken = redirects.safe_next(target, DEFAULT)
        harm(lands_on(taken) != ORIGIN, f"the foreign target {target!r} was accepted")
        assert (kept, taken) == ("/account", DEFAULT), target
