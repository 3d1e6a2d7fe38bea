"""Form parsing: a form with too many, too large, duplicate or malformed fields, or of another type, reaches no view.

The attacks go to bare views, so they cover the views of a team. Ordinary and multipart forms have separate proofs,
because Werkzeug itself limits the latter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from ...harness import edit, harm, protects, refused, works
from ...session_client import COOKIE, FIELD, HEADER

if TYPE_CHECKING:
    from ...running import Service
    from ...session_client import Client
    from ...wire import Response


LIMITS, TYPE, TWICE = "form-field-limits", "content-type-strict", "duplicate-parameters-refused"
CHARACTERS = "control-characters-refused"
FORM, FILES, JSON = "application/x-www-form-urlencoded", "multipart/form-data", "application/json"
BOUNDARY = "a-boundary"
Fields = list[tuple[str, str | bytes]]


def adds_reader(service: Service) -> list[Any]:
    """Add bare views that read a form; return the list to which they append the fields."""
    arrived: list[Any] = []

    def view() -> Any:
        from flask import request

        arrived.append([*request.form.items(multi=True)])
        return {"read": True}

    service.adds_route("/bare", methods=("POST",), view=view)
    service.adds_route("/tags", methods=("POST",), view=service.module().takes_lists("tag")(lambda: view()))
    return arrived


def plain(client: Client, fields: Fields | bytes, path: str = "/bare", kind: str = FORM) -> Response:
    """Post an ordinary form with the token in the header, so that the attacker controls every field."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return client.post(path, body=body, content_type=kind)


def with_files(client: Client, fields: Fields, path: str = "/bare", *, files: int = 0) -> Response:
    """Post a multipart form, the kind that carries files."""
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + (text if isinstance(text, bytes) else text.encode())
        for name, text in fields
    ]
    lines += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f{n}"; filename="f"\r\n\r\nx'.encode()
        for n in range(files)
    ]
    body = b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])
    return client.post(path, body=body, content_type=f"{FILES}; boundary={BOUNDARY}")


def signed_in(service: Service) -> tuple[Client, list[Any]]:
    arrived = adds_reader(service)
    return service.client(service.user()).login(), arrived


HUNDRED: Fields = [(f"n{number}", "") for number in range(100)]
OVER: Fields = [*HUNDRED, ("n100", "")]


@protects(LIMITS, urlencoded=edit("session/bodies.py", '    if data.count(b"&") >= MOST_FIELDS:\n', "    if False:\n"))
@protects(
    LIMITS,
    field=edit("session/bodies.py", '        refuse_large(text_of(part.partition(b"=")[2]))\n', ""),
    name=edit("session/bodies.py", "        if len(part) > 4 * LONGEST_FIELD:", "        if False:"),
)
def test_no_view_gets_an_ordinary_form_of_many_or_large_fields(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, arrived = signed_in(service)
    bodies: Any = service.module("session.bodies")
    counted: list[int] = []
    real = bodies.text_of

    def spy(part: bytes) -> Any:
        counted.append(len(part))
        return real(part)

    monkeypatch.setattr(bodies, "text_of", spy)
    works(plain(client, HUNDRED).status == 200, "a form of 100 fields is read")
    works(plain(client, [("text", "ä" * 32_000)]).status == 200, "a field of 64 000 bytes is read")
    works(plain(client, [(f"n{number}", "x" * 8_000) for number in range(100)]).status == 200, "a long form is read")
    works([len(fields) for fields in arrived] == [100, 1, 100], "the view gets the whole form")
    works(counted, "the service checked each field")
    arrived.clear()
    counted.clear()
    answers = [
        plain(client, OVER),
        plain(client, b"&" * 100),
        plain(client, b"&".join(b"%d" % number for number in range(100_000))),
        plain(client, b"a&" * 500_000),
    ]
    answers.append(plain(client, b"%41" * 100_000))
    parsed = len(counted)
    answers += [plain(client, [("text", "x" * 64_001)]), plain(client, [("text", "ä" * 32_001)])]
    harm(arrived, "a view got more than 100 fields, or a field or name of more than 64 000 bytes")
    assert parsed == 0  # refused before the first field was taken apart
    for answer in answers:
        refused(answer, 413, LIMITS)


@protects(LIMITS, multipart=edit("session/bodies.py", "    request.max_form_parts = MOST_FIELDS\n", ""))
def test_no_view_gets_a_form_with_files_of_many_or_large_parts(service: Service) -> None:
    client, arrived = signed_in(service)
    works(with_files(client, HUNDRED).status == 200, "a form of 100 parts is read")
    works(with_files(client, HUNDRED[:90], files=10).status == 200, "files count as parts")
    works(with_files(client, [("text", "x" * 64_000)]).status == 200, "a field of 64 000 bytes is read")
    works([len(fields) for fields in arrived] == [100, 90, 1], "the view gets the whole form")
    arrived.clear()
    many = [with_files(client, OVER), with_files(client, HUNDRED, files=1)]
    large = [with_files(client, [("text", "x" * 64_001)]), with_files(client, [("text", "x" * 600_000)])]
    harm(arrived, "a view got more than 100 parts, or a field of more than 64 000 bytes")
    for answer in (*many, *large):
        refused(answer, 413, LIMITS)


# --- content-type-strict -----------------------------------------------------------------------------------------

CHARSETS = ("utf-7", "utf-16", "iso-8859-1", "utf-8;q=1", "utf8")
OTHERS = (
    *("text/plain", "text/xml", "application/xml", "application/jsonp", "application/csp-report", "text/json", ""),
    *(
        f"{FORM}, {JSON}",
        f"{JSON}, text/plain",
        f"{JSON}; boundary=x",
        f"{FORM}; boundary=x",
        "application/octet-stream",
    ),
)
ENTITY = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


@protects(TYPE, type=edit("session/bodies.py", "        require_content_type()\n", ""))
@protects(
    TYPE,
    charset=edit(
        "session/bodies.py", '    if parameters.get("charset", "utf-8").lower() != "utf-8":\n', "    if False:\n"
    ),
)
def test_no_view_runs_for_a_body_of_another_kind_or_encoding(service: Service) -> None:
    seen = service.adds_route("/any", methods=("POST", "PUT", "DELETE"))
    client = service.client(service.user()).login()
    for kind in (FORM, f"{FORM}; charset=utf-8", JSON, f"{JSON};charset=UTF-8", f"{FILES}; boundary={BOUNDARY}"):
        body = b"{}" if kind.startswith(JSON) else b"a=1" if kind.startswith(FORM) else f"--{BOUNDARY}--\r\n".encode()
        works(client.post("/any", body=body, content_type=kind).status == 200, f"{kind} is accepted")
    works(client.post("/any", body=b"", headers={"Content-Type": None}).status == 200, "no body needs no content type")
    works(len(seen) == 6, "the view ran for each request")
    seen.clear()
    answers = [client.post("/any", body=b'{"a": 1}', content_type=f"{JSON}; charset={one}") for one in CHARSETS]
    answers += [client.post("/any", body=b"a=1", content_type=f"{FORM}; charset={one}") for one in CHARSETS]
    harm(seen, "a view ran for a body with another content encoding")
    answers += [client.put("/any", body=ENTITY, content_type=kind) for kind in OTHERS if kind]
    answers += [client.delete("/any", body=b"a", headers={"Content-Type": kind}) for kind in (None, "")]
    harm(seen, "a view ran for a body that is neither a form nor JSON")
    for answer in answers:
        refused(answer, 415, TYPE)


@protects(
    TYPE,
    form=edit("session/forms.py", "        if request.is_json and inputs.has_body():", "        if False:"),
)
def test_forms_and_json_are_never_parsed_as_each_other(service: Service) -> None:
    read: list[Any] = []

    def reads() -> Any:
        from flask import request

        read.append(request.get_json())
        return {"read": True}

    service.adds_route("/json", methods=("POST",), view=reads)
    user = service.user()
    browser, script = service.client(user), service.client(user)
    credentials = {"identifier": user.email, "password": user.password}
    works(browser.post("/login", credentials).status == 303, "the login form is accepted")
    works(browser.post("/json", json={"a": 1}).status == 200, "a view that reads JSON gets it")
    read.clear()
    script.csrf_token()
    sent = [script.post("/login", json=credentials), browser.post("/json", {"a": "1"})]
    harm("token" in script.content(), "a form was filled from JSON, so two parsers may read it differently")
    harm(read, "JSON was parsed from a form")
    for answer in sent:
        refused(answer, 415, TYPE)


@protects(TYPE, broken=edit("session/bodies.py", '"silent": False', '"silent": True'))
def test_malformed_multipart_form_is_not_read_as_empty(service: Service) -> None:
    client, arrived = signed_in(service)
    works(with_files(client, [("text", "all of it")]).status == 200, "a multipart form is read")
    works(arrived == [[("text", "all of it")]], "the view gets the whole form")
    arrived.clear()
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="text"\r\n\r\n'.encode()
    bodies = (start, start + b"all of it", start + b"all of it\r\n--", b"all of it", b"text=all+of+it")
    answers = [client.post("/bare", body=body, content_type=f"{FILES}; boundary={BOUNDARY}") for body in bodies]
    answers.append(client.post("/bare", body=start, content_type=FILES))
    harm(arrived, "a malformed multipart form reached a view as an empty form")
    for answer in answers:
        refused(answer, 400, TYPE)


# --- duplicate-parameters-refused and control-characters-refused -------------------------------------------------


@protects(
    TWICE,
    form=edit(
        "session/bodies.py", "        refuse_duplicates(name for part in parts for name in names_of(part))\n", ""
    ),
)
def test_no_view_gets_a_field_twice_or_in_query_and_form(service: Service) -> None:
    client, arrived = signed_in(service)
    works(plain(client, [("tag", "a"), ("tag", "b"), ("n", "1")], "/tags").status == 200, "a declared list is accepted")
    works(with_files(client, [("tag", "a"), ("tag", "b")], "/tags").status == 200, "both kinds of form accept it")
    works([len(fields) for fields in arrived] == [3, 2], "the view gets the whole list")
    arrived.clear()
    twice: Fields = [("email", "a@example.com"), ("email", "b@example.com")]
    answers = [
        plain(client, twice),
        plain(client, twice, "/tags"),
        plain(client, b"email=a&e%6dail=b"),
        with_files(client, twice),
        plain(client, [("role", "user")], "/bare?role=admin"),
        with_files(client, [("role", "user")], "/bare?role=admin"),
    ]
    harm(arrived, "a view received a duplicate parameter, which a check and the view may read differently")
    for answer in answers:
        refused(answer, 400, TWICE)


@protects(
    TWICE,
    cookies=edit("session/cookie.py", "if len(cookies) != 1:", "if not cookies:"),
)
def test_who_sends_two_session_cookies_is_nobody(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser, thief = service.client(service.user()).login(), service.client(service.user()).login()
    works(browser.get("/probe").status == 200, "one session cookie opens the page")
    works(
        browser.get("/probe", headers={"Cookie": f"theme=dark; {COOKIE}={browser.cookie}"}).status == 200,
        "other cookies beside it are allowed",
    )
    seen.clear()
    pairs = [
        (browser.cookie, thief.cookie),
        (thief.cookie, browser.cookie),
        (browser.cookie, browser.cookie),
        ("x", browser.cookie),
    ]
    answers = [
        service.client().get("/probe", headers={"Cookie": f"{COOKIE}={one}; {COOKIE}={other}"}) for one, other in pairs
    ]
    harm(seen, "one of two session cookies was accepted, which an attacker may have planted")
    assert [answer.status for answer in answers] == [303] * len(pairs)


NAMELESS = (
    b"form-data",
    b'form-data; filename="f.txt"',
    b'form-data; name=""',
    b'form-data; name=""; filename="f.txt"',
    b'form-data; name="f\0"; filename="f.txt"',
    b'form-data; name="f"; filename="f\0.txt"',
)
LISTED = (b'form-data; name="tag"; filename="1.txt"', b'form-data; name="tag"; filename="\0.txt"')


def parts(client: Client, *headers: bytes, path: str = "/bare") -> Response:
    """Post a form of parts with this Content-Disposition."""
    body = b"".join(b"--%s\r\nContent-Disposition: %s\r\n\r\nx\r\n" % (BOUNDARY.encode(), one) for one in headers)
    kind = f"{FILES}; boundary={BOUNDARY}"
    return client.post(path, body=body + b"--%s--\r\n" % BOUNDARY.encode(), content_type=kind)


@protects(CHARACTERS, nul=edit("request/inputs.py", '    if "\\x00" in text:\n', "    if False:\n"))
@protects(CHARACTERS, form=edit("session/bodies.py", "        text_of(part)\n", ""))
@protects(
    CHARACTERS,
    files=edit("session/bodies.py", '{"\\x00", "\\ufffd"} & {*name, *text}:', "False:"),
    unnamed=edit("session/bodies.py", "        if not name or {", "        if name and {"),
)
def test_no_view_gets_a_field_that_is_no_text(service: Service) -> None:
    client, arrived = signed_in(service)
    typed = "Zoë 😀 100% %41 \t\r\n two"
    works(plain(client, [("text", typed)]).status == 200, "ordinary text is read")
    works(with_files(client, [("text", typed)]).status == 200, "both kinds of form are read")
    works(arrived == [[("text", typed)]] * 2, "the text is decoded once, as typed")
    works(parts(client, 'form-data; name="ä"; filename="ü 1.txt"'.encode()).status == 200, "a file is read as well")
    arrived.clear()
    bad = (b"\x00", b"a\x00b", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xc3")
    answers = [plain(client, b"text=" + quote(text).encode()) for text in bad]
    answers += [plain(client, quote(text).encode() + b"=1") for text in bad]
    answers += [plain(client, b"text=" + text) for text in bad]
    answers += [with_files(client, [("text", text)]) for text in bad]
    answers += [parts(client, header) for header in NAMELESS]
    answers.append(parts(client, *LISTED, path="/tags"))
    harm(arrived, "a view got NUL, invalid UTF-8 or a nameless field")
    for answer in answers:
        refused(answer, 400, CHARACTERS)
    assert FIELD not in HEADER


@protects(
    CHARACTERS,
    twice=edit(
        "session/pages.py",
        "send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)",
        'send_from_directory(STATIC, __import__("urllib.parse").parse.unquote(filename), max_age=STATIC_SECONDS)',
    ),
)
def test_no_address_is_decoded_twice(service: Service) -> None:
    client = service.client()
    sheet = client.get("/static/bastion/bastion.css")
    works(sheet.status == 200, "the stylesheet is served")
    works(client.get("/static/bastion/bastion%2Ecss").body == sheet.body, "an encoded dot is decoded once")
    answers = [client.get(f"/static/bastion/{name}") for name in ("bastion%252Ecss", "%2562astion.css")]
    harm([answer for answer in answers if answer.body == sheet.body], "a doubly encoded address was decoded twice")
    assert [answer.status for answer in answers] == [404, 404]
