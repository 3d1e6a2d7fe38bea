"""Edges of the proofs in test_hosts.py: further attacks on the same protections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from .. import header_table
from ..harness import Edit, edit, harm, protects, refused, works
from ..logins import PATH, SIGNED_IN, cheap_user, sessions_of
from ..test_hosts import HTTPS_LAYER, HTTPS_ROW, LAYER, PAGES, ROW, adds_spy, rows
from ..wire import HOST

if TYPE_CHECKING:
    from ..real_server import RealServer
    from ..running import Service


FOREIGN = (
    "evil.example",
    "app.example.evil.com",
    "app.example.",
    "app-example",
    "www.app.example",
    "evilapp.example",  # ends in the right name
    "evil.example:443",
    "app.example@evil.example",
    "evil.example@app.example",
    "user:password@app.example",
    "app.example, evil.example",  # two lines, as a server joins them
    "app.example,app.example",
    "app.example/evil",
    "app.example\\evil",
    "app.example#",
    "app.example?",
    " app.example",
    "app.example ",
    "app.example\t",
    "app.example%00",
    "app%2eexample",
    "\uff41pp.example",
    "[app.example]",
    "127.0.0.1",
    "localhost",
    "*",
    ".app.example",
    "",
)
WRONG_PORT = (
    "app.example:81",
    "app.example:80",
    "app.example:0443",
    "app.example:443:81",
    "app.example:",
    "app.example:x",
)


@protects(
    "host-header-trusted",
    layer=LAYER,
    port=edit(
        "edge/hosts.py",
        'environ.get("HTTP_HOST", "").lower()',
        'environ.get("HTTP_HOST", "").lower().partition(":")[0]',
    ),
    suffix=edit("edge/hosts.py", "return host in self._exact or", "return host.endswith(tuple(self._exact)) or"),
)
def test_no_code_of_the_service_sees_a_request_for_another_host(service: Service) -> None:
    seen = adds_spy(service)
    service.adds_route("/probe")
    client = service.client(service.user()).login()
    for host in (HOST, f"{HOST}:443"):
        works(client.get("/probe", headers={"Host": host}).status == 200, f"a request for {host} is answered")
    works(len(seen) >= 2, "hooks before the view saw these requests")
    seen.clear()
    before = rows(service)

    answers = {host: client.get("/probe", headers={"Host": host}) for host in (*FOREIGN, *WRONG_PORT)}
    answers["none"] = client.get("/probe", headers={"Host": None})
    harm(seen, "application code ran for a foreign host")
    assert len(answers) >= 30
    assert "evil.example" in answers
    for answer in answers.values():
        refused(answer, 400, ROW)
        assert header_table.faults(service, answer) == []
        assert answer.set_cookies == []
    assert rows(service) == before
    assert client.get("/probe", headers={"Host": HOST.upper()}).status == 200
    assert seen == [HOST]  # in one spelling, for whatever compares it inside


@protects(
    "host-header-trusted",
    absolute=edit("edge/hosts.py", 'if target[:1] != "/" and not _names_host(target, host):', "if not target:"),
    ending=edit("edge/hosts.py", "[0].lower() == host", "[0].lower().endswith(host)"),
)
def test_no_second_host_hides_in_an_absolute_target(service: Service) -> None:
    seen = adds_spy(service)
    service.adds_route("/probe")
    client = service.client(service.user()).login()
    for scheme in ("https", "http"):  # as the last proxy writes it, whichever it has spoken itself
        works(client.get(f"{scheme}://{HOST}/probe").status == 200, "an absolute target with the own host is answered")
    seen.clear()

    answers = [
        client.get(target)
        for target in (
            "http://evil.example/probe",
            "https://evil.example/probe",
            f"https://{HOST}:81/probe",
            f"https://{HOST}@evil.example/probe",
            f"https://evil.example@{HOST}/probe",
            f"https://evil{HOST}/probe",
            "ftp://app.example/probe",
        )
    ]
    harm(seen, "application code ran for a foreign host in the target")
    for answer in answers:
        refused(answer, 400, ROW)


@protects(ROW, local=edit("edge/hosts.py", r"{1,5})?\Z", r"{1,5})?"))
def test_development_trusts_the_names_of_this_machine_only(service: Service) -> None:
    """Otherwise a page of another site reaches it by a name that leads to 127.0.0.1 (DNS rebinding)."""
    hosts = service.module("edge.hosts").Hosts((HOST,), "http://localhost:8000", production=False)
    ours = ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000")
    works(all(map(hosts.trusts, ours)), "names of this machine are accepted")
    foreign = (
        *("localhost.evil.example", "127.0.0.1.evil.example", "localhost:8000.evil.example", "evil.localhost"),
        *("localhost@evil.example", "localhost\n", "localhost:", "localhost:800000", "127.0.0.2", HOST, ""),
    )
    trusted = [host for host in foreign if hosts.trusts(host)]
    harm(trusted, "development accepted a name of another machine")
    assert hosts.refuse({"HTTP_HOST": foreign[0]}) == service.module("edge.hosts").REFUSAL


@protects("host-header-trusted")
def test_a_wildcard_lets_only_names_below_it_in(service: Service) -> None:
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},.tenants.example")
    seen = adds_spy(service)
    service.adds_route("/probe")
    client = service.client(service.user()).login()
    works(client.get("/probe", headers={"Host": "one.tenants.example"}).status == 200, "a tenant's name is answered")
    seen.clear()

    foreign = (
        *("tenants.example", ".tenants.example", "eviltenants.example", "one.tenants.example.evil.com"),
        *("a..tenants.example", "one.tenants.example:81", "a@one.tenants.example", "-.tenants.example"),
        *("a/one.tenants.example", "a_b.tenants.example", "a" * 254 + ".tenants.example"),
    )
    answers = [client.get("/probe", headers={"Host": host}) for host in foreign]
    harm(seen, "application code ran for a host outside the wildcard")
    for answer in answers:
        refused(answer, 400, ROW)


# What a Host is made of, the right one and what stands around it in an attack.
PIECES = (
    HOST,
    "app",
    "example",
    ".",
    ":",
    "443",
    "80",
    "@",
    ",",
    " ",
    "\t",
    "%00",
    "/",
    "\\",
    "[",
    "]",
    "evil",
    "\xe9",
    "\0",
)


@protects("host-header-trusted")
def test_no_host_that_chance_puts_together_is_taken_for_ours(service: Service) -> None:
    seen = service.adds_route("/probe", mark="public")
    client = service.client()
    ours = {HOST, f"{HOST}:443"}
    works({client.get("/probe", headers={"Host": host}).status for host in ours} == {200}, "its own host is answered")
    seen.clear()
    tried: list[str] = []
    wrong: list[tuple[str, int]] = []

    @settings(max_examples=100, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
    @example("App.Example:443")
    @given(
        st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
        | st.text(st.characters(max_codepoint=255), max_size=300)
    )
    def send(host: str) -> None:
        tried.append(host)
        answer = service.client(address=f"192.0.2.{len(tried) % 250}").get("/probe", headers={"Host": host})
        if answer.status != (200 if host.lower() in ours else 400):
            wrong.append((host, answer.status))

    send()
    harm(wrong, f"a Host header was judged wrongly: {wrong[:3]}")
    assert len(tried) >= 75
    assert len(seen) == sum(host.lower() in ours for host in tried) >= 1


@protects("host-header-trusted")
def test_the_real_server_passes_no_ambiguous_host_on(service: Service) -> None:
    server = service.real_server()
    passed = asks(service, server, "GET /none-of-this-name HTTP/1.1", f"Host: {HOST}")
    works(status_of(passed) == 404, "the right host is answered")

    foreign = {
        "two lines": asks(service, server, "GET / HTTP/1.1", f"Host: {HOST}", "Host: evil.example"),
        "two equal lines": asks(service, server, "GET / HTTP/1.1", f"Host: {HOST}", f"Host: {HOST}"),
        "absolute": asks(service, server, "GET http://evil.example/ HTTP/1.1", f"Host: {HOST}"),
        "absolute, no slash": asks(service, server, "GET http://evil.example HTTP/1.1", f"Host: {HOST}"),
        "none": asks(service, server, "GET / HTTP/1.1", "Accept: */*"),
        "none, old": asks(service, server, "GET / HTTP/1.0", "Accept: */*"),
        "empty": asks(service, server, "GET / HTTP/1.1", "Host:"),
        "another": asks(service, server, "GET / HTTP/1.1", "Host: evil.example"),
    }
    statuses = {name: status_of(answer) for name, answer in foreign.items()}
    harm([name for name, status in statuses.items() if status != 400], "an ambiguous host was accepted")
    assert statuses == dict.fromkeys(foreign, 400)
    logged = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    reasons = [event["reason"] for event in logged if event["event"] == "refused"]
    assert reasons.count(ROW) == len(reasons) >= 4


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def asks(service: Service, server: RealServer, *lines: str) -> bytes:
    """Return the answer to a request with these lines, as the proxy in front sends it."""
    proxied = (*lines, "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.10", "Connection: close", "", "")
    return service.raw(server, "\r\n".join(proxied).encode())


# --- https alone -----------------------------------------------------------------------------------------------------


HTTPS = "            or self._https.refuse(environ)  # before a credential or body is read\n"
CEILING = "            or self._ceiling.refuse(environ)  # before work is done for the request\n"
TARGET = "            or request_line.refuse_target(environ)  # before a route is looked for\n"


@protects(HTTPS_ROW, counted=edit("edge/__init__.py", HTTPS + CEILING, CEILING + HTTPS))
@protects("default-throttle", target=edit("edge/__init__.py", CEILING + TARGET, TARGET + CEILING))
def test_clear_text_is_not_counted_and_odd_targets_are(service: Service) -> None:
    """Otherwise a page of another site uses up a visitor's allowance, or odd addresses are asked for without end."""
    seen, client = service.adds_route("/probe", mark="public"), service.client()
    for _ in range(service.limits.requests_per_minute_and_address - 2):
        service.app.wsgi_app._ceiling.hit(client.address)  # type: ignore[attr-defined]
    works(client.get("/probe").status == 200, "one of the last two requests of the minute is answered")
    for _ in range(2):
        client.get("/probe", scheme="http")
    last = client.get("/probe")
    harm(len(seen) < 2, "clear-text requests used up the rate limit of https requests")
    odd = client.get("/probe%2fx")
    harm(odd.status == 400, "targets with an encoded slash have no rate limit")
    refused(odd, 429, "default-throttle")
    assert last.status == 200


# Only a service with pages redirects clients.
MOVED: dict[str, Edit] = (
    {
        "api": edit(
            "edge/https_only.py",
            'environ["REQUEST_METHOD"] in _READING and not in_clear and not self._is_api(environ)',
            'environ["REQUEST_METHOD"] != "OPTIONS"',
        )
    }
    if PAGES
    else {}
)


def counters(service: Service) -> list[Any]:
    """Return the number of counters of attempts and of uses, and how often they were written."""
    attempts = service.rows("SELECT count(*), sum(version) FROM throttle_counter")
    return attempts + service.rows("SELECT count(*), sum(version) FROM throttle_use")


@protects(HTTPS_ROW, layer=HTTPS_LAYER, **MOVED)
def test_clear_text_request_is_not_read_or_counted(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    api = service.adds_route("/api/probe")
    user = cheap_user(service)
    client = service.client(user)
    fields = {"identifier": user.email, "password": user.password}
    works(client.post(PATH, fields).status == SIGNED_IN, "a user signs in over https")
    client.login()
    for path in ("/probe", "/api/probe"):
        works(client.get(path).status == 200, f"{path} is answered over https")
    seen.clear()
    api.clear()
    sessions, counted = sessions_of(service, user), counters(service)

    bearer = {"Authorization": "Bearer canary"}
    answers = {
        "login": client.post(PATH, fields, scheme="http"),
        "post": client.post("/probe", scheme="http"),
        "api": client.get("/api/probe", scheme="http"),
        "bearer": client.get("/probe", headers=bearer, scheme="http"),
        "put": client.put("/probe", scheme="http"),
        "options": client.send("OPTIONS", "/probe", scheme="http"),
    }
    harm(seen + api, "a view ran for a clear-text request")
    harm(sessions_of(service, user) != sessions, "a password sent in clear text opened a session")
    moved = {name: one.location for name, one in answers.items() if one.location}
    harm(moved, "a program was redirected, so it keeps sending its token in clear text")
    for answer in answers.values():
        refused(answer, 403, HTTPS_ROW)
        assert answer.set_cookies == []
    [logged] = [event for event in answers["bearer"].events if event["event"] == "refused"]
    assert (logged["identified_in_clear"], logged["count"]) == (True, 4)
    assert "canary" not in service.output
    assert counters(service) == counted
    read = client.get("/probe", headers={"Authorization": None}, scheme="http")
    refused(read, 308 if PAGES else 403, HTTPS_ROW)
    assert (seen, client.get("/healthz", scheme="http").status) == ([], 200)
