"""Edges of the proofs in test_address.py: further attacks on the same protections."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from .. import test_address as core
from ..harness import edit, harm, insert, protects, refused, works
from ..logins import PATH
from ..service import AUTH
from ..test_address import CANONICAL, CLIENT, HOPS, PEER, PROXY, behind, who
from ..wire import HOST, ORIGIN
from .core import sabotages
from .test_exceptions import declare, limit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service


# --- how many proxies ------------------------------------------------------------------------------------------


@protects(
    HOPS,
    none=edit("edge/address.py", "if self._hops and self.peer_is_trusted(client):", "if True:"),
    scheme=edit("edge/address.py", 'scheme.rpartition(",")[2]', 'scheme.partition(",")[0]'),
)
def test_scheme_comes_from_the_nearest_proxy_only(service: Service) -> None:
    behind(service, 2)
    proxy = service.client(address=PROXY)
    works(who(proxy, f"{CLIENT}, 10.0.0.8")["scheme"] == "https", "with two proxies, one value of the scheme suffices")
    works(who(proxy, f"1.1.1.1, {CLIENT}, 10.0.0.8")["address"] == CLIENT, "the second from the right is the client")
    lied = who(proxy, f"{CLIENT}, 10.0.0.8", proto="https, http")
    harm("scheme" in lied, "a client's X-Forwarded-Proto made a clear-text request count as https")
    assert lied == {"status": 308 if AUTH == "session" else 403}
    service.restart(BASTION_PROXY_HOPS="0")  # whichever proxies there are
    direct = service.client(address="10.0.0.7")
    lied = who(direct, CLIENT)
    harm("scheme" in lied, "without a proxy, a client's header made a clear-text request count as https")
    answer = direct.get("/who", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "http"})
    assert (answer.json["address"], answer.json["scheme"], answer.json["told"]) == ("10.0.0.7", "https", [])


@protects(
    HOPS, boot=edit("start/guards.py", "    if settings.proxy_hops is None:\n", "    if settings.proxy_hops == -1:\n")
)
def test_nobody_starts_without_having_counted_the_proxies(service: Service) -> None:
    works(service.start(BASTION_PROXY_HOPS="0").app is not None, "a service without a proxy starts")
    trusted = {"BASTION_TRUSTED_PROXIES": "10.0.0.0/8"}
    works(service.start(BASTION_PROXY_HOPS="3", **trusted).app is not None, "a service behind three proxies starts")
    tried = service.start(BASTION_PROXY_HOPS=None)
    harm(tried.app is not None, "the service started without BASTION_PROXY_HOPS")
    assert tried.reasons == ["BASTION_PROXY_HOPS is not set. Count the proxies in front of this service (0 to 3)."]
    for wrong in ("-1", "4", "1.5", "x", "*"):
        assert [one.partition(":")[0] for one in service.start(BASTION_PROXY_HOPS=wrong, **trusted).reasons] == [
            "BASTION_PROXY_HOPS"
        ]


# --- from whom -------------------------------------------------------------------------------------------------


@protects(
    PEER,
    empty=edit("start/guards.py", "    if settings.proxy_hops and not (", "    if settings.proxy_hops == -1 and not ("),
    everybody=edit("start/guards.py", "one.prefixlen < WIDEST[one.version]", "one.prefixlen < 0"),
)
def test_no_list_of_proxies_is_empty_or_holds_everybody(service: Service) -> None:
    one_hop = {"BASTION_PROXY_HOPS": "1"}
    works(service.start(**one_hop, BASTION_TRUSTED_PROXIES="10.0.0.0/8,::1/128").app is not None, "networks pass")
    ours = "10.0.0.0/8,172.16.0.0/12,104.0.0.0/8,35.191.0.0/16,fc00::/7,2600::/16,2400:cb00::/32"
    works(service.start(**one_hop, BASTION_TRUSTED_PROXIES=ours).app is not None, "a hoster's networks pass as well")
    all_addresses = ("0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "::/1")
    for wrong in (None, "", " , ", *all_addresses, "10.0.0.0/7", "104.0.0.0/7", "2600::/15"):
        tried = service.start(**one_hop, BASTION_TRUSTED_PROXIES=wrong)
        harm(tried.app is not None, f"the service started with {wrong!r}")
        assert [reason.partition(" ")[0] for reason in tried.reasons] == ["BASTION_TRUSTED_PROXIES"]
    for wrong in ("proxy.internal", "*", "10.0.0.1/8", "10.0.0.0/33"):
        tried = service.start(**one_hop, BASTION_TRUSTED_PROXIES=wrong)
        assert [reason.partition(":")[0] for reason in tried.reasons] == ["BASTION_TRUSTED_PROXIES"]


# --- in one spelling -------------------------------------------------------------------------------------------

# What an entry is made of, an address in each form and what stands around it.
PIECES = (
    CLIENT,
    "2001:db8::1",
    "::ffff:",
    "10.0.0.7",
    "1.1.1.1",
    ",",
    " ",
    ":",
    "5",
    "[",
    "]",
    "%eth0",
    "/",
    ".",
    "for=",
    ";",
    '"',
)


@protects(CANONICAL)
def test_client_address_is_canonical_for_any_headers(service: Service) -> None:
    behind(service, 1)
    works(who(service.client(address=PROXY), CLIENT)["address"] == CLIENT, "the service uses the proxy's entry")
    tried: list[str] = []
    wrong: list[Any] = []
    text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(
        st.characters(max_codepoint=255), max_size=80
    )

    @settings(max_examples=100, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
    @example(f"[::ffff:{CLIENT}]:5", f"for={CLIENT}", PROXY)
    @given(text, text, st.sampled_from((PROXY, "10.1.2.3", "192.0.2.5", "2001:db8:9::1")) | text)
    def send(forwarded: str, other: str, peer: str) -> None:
        tried.append(forwarded)
        sent = {"X-Forwarded-For": forwarded, "Forwarded": other, "X-Real-IP": other, "X-Forwarded-Proto": "https"}
        answer = service.client(address=peer).get("/who", headers=sent)
        one = answer.json if answer.status == 200 else {"address": answer.status, "network": answer.status}
        plain = one["address"] == ("" if one["network"] == "local" else str(ip_address(one["address"])))
        known = one["network"] == "local" or ip_address(one["address"]) in ip_network(one["network"])
        if not (plain and known and str(one["address"]).isascii()):
            wrong.append((sent, peer, one))

    send()
    harm(wrong, f"a client address is invalid or not canonical: {wrong[:3]}")
    assert len(tried) >= 75


@protects(
    CANONICAL, wide=edit("edge/ceiling.py", "if over is None and client.wide is not None:", "if client.wide == '':")
)
def test_whoever_holds_many_networks_is_counted_by_all_of_them(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(service, monkeypatch, tmp_path / "exceptions.toml", limit("requests_per_minute_and_address", 60))
    behind(service, 1)
    most = service.limits.requests_per_minute_and_address
    proxy = service.client(address=PROXY)
    works(most == 60, "the service declares a lower rate limit")
    works(who(proxy, "2001:db8:2::1")["network"] == "2001:db8:2::/64", "a client of another site is served")
    served = [who(proxy, f"2001:db8:1:{number % 50:x}::1") for number in range(5 * most)]
    works(all("network" in one for one in served), "fifty /64 networks of one site get five times the limit")
    over = who(proxy, "2001:db8:1:ffff::1")
    harm("network" in over, "a new /64 for each request bypassed the rate limit")
    assert over == {"status": 429}
    assert "network" in who(proxy, "2001:db8:2::1")


OTHERS = (
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Forwarded",
    "X-Forwarded",
    "X-Cluster-Client-IP",
)


@protects(
    HOPS,
    hops=edit("edge/address.py", "client = parse(entries[-self._hops])", "client = parse(entries[0])"),
    real_ip=insert(
        "edge/address.py",
        after='            client = self._client_behind(client, environ.get("HTTP_X_FORWARDED_FOR")',
        new=' if "HTTP_X_REAL_IP" not in environ else environ["HTTP_X_REAL_IP"]',
    ),
    host=insert(
        "edge/address.py",
        after="        environ[CLIENT] = client\n",
        new='        environ["HTTP_HOST"] = environ.get("HTTP_X_FORWARDED_HOST", environ.get("HTTP_HOST", ""))\n',
    ),
)
def test_no_header_of_a_client_counts_but_what_the_proxy_added(service: Service) -> None:
    behind(service, 1)
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},other.example")
    proxy = service.client(address=PROXY)
    plain = who(proxy, CLIENT)
    works((plain["address"], plain["scheme"]) == (CLIENT, "https"), "the service uses the proxy's address and scheme")
    forged = [who(proxy, f"1.1.1.{number}, {CLIENT}") for number in range(60)]
    harm([one["network"] for one in forged if one["network"] != CLIENT], "a client chose its rate-limited address")
    assert who(proxy, f"1.1.1.1 , {CLIENT} ")["address"] == CLIENT
    for name in OTHERS:
        one = who(
            proxy, CLIENT, **{name.replace("-", "_"): "for=198.51.100.1" if name == "Forwarded" else "198.51.100.1"}
        )
        harm(one["address"] != CLIENT, f"the service trusted the client's header {name}")
        assert one["told"] == []
    hosted = who(proxy, CLIENT, X_Forwarded_Host="other.example", X_Forwarded_Prefix="/evil", X_Forwarded_Port="1")
    assert who(proxy, CLIENT, X_Forwarded_Ssl="on", X_Forwarded_Scheme="https")["told"] == []  # not trusted
    harm(hosted["host"] != HOST, "the service trusted the client's X-Forwarded-Host")
    assert (hosted["root"], hosted["told"]) == ("", [])


@protects(PEER, peer=edit("edge/address.py", "return self._known(peer.address)", "return True"))
def test_only_a_listed_proxy_sets_the_client_address(service: Service) -> None:
    behind(service, 1, f"{PROXY}/32, 2001:db8::/64")
    for peer in (PROXY, f"::ffff:{PROXY}", "2001:db8::5"):
        one = who(service.client(address=peer), CLIENT)
        works((one["address"], one["scheme"]) == (CLIENT, "https"), f"the service trusts the listed proxy {peer}")
    for peer in ("10.0.0.8", "192.0.2.1", "2001:db8:0:1::5", "::1", "", "unix:", "junk"):
        stranger = service.client(address=peer)
        harm("scheme" in who(stranger, CLIENT), f"the untrusted peer {peer!r} made a clear-text request count as https")
        answer = stranger.get("/who", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"})
        harm(answer.json["address"] == CLIENT, f"the untrusted peer {peer!r} set the client address")
        refused(stranger.post("/who", headers={"X-Forwarded-Proto": "https"}, scheme="http"), 403, "https-only")


@protects(PEER, underscore=edit("server/gunicorn.py", 'header_map = "drop"', 'header_map = "dangerous"'))
def test_no_further_spelling_of_the_header_replaces_the_proxys(service: Service) -> None:
    server = service.real_server()

    def asked(*lines: str) -> str:
        """Return the client address that the service logs for a request with these header lines."""
        body, kind = "identifier=a&password=b", "text/plain"  # refused, and logged, before any hash
        head = (f"POST {PATH} HTTP/1.1", f"Host: {HOST}", f"Origin: {ORIGIN}", "Sec-Fetch-Site: same-origin", *lines)
        tail = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", "", body)
        seen = len(server.output)
        service.raw(server, "\r\n".join((*head, *tail)).encode())
        found = [json.loads(line) for line in server.output[seen:].splitlines() if line.startswith("{")]
        return str(
            next((event.get("ip") or event.get("address") for event in found if event.get("level") != "info"), found)
        )

    honest = (f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")
    works(asked(*honest) == CLIENT, "the service reads the proxy's header")
    for forged in ("X_Forwarded_For: 198.51.100.1", "X-Forwarded_For: 198.51.100.1", "x_forwarded-for: 198.51.100.1"):
        for lines in ((*honest, forged), (forged, *honest)):
            harm("198.51.100.1" in asked(*lines), f"a client's header {forged} set the client address")


@protects(
    CANONICAL,
    **sabotages(core.test_no_spelling_of_an_address_is_a_second_client, CANONICAL, "parse"),
    mapped=edit("edge/address.py", "        if address.ipv4_mapped is None:\n", "        if address:\n"),
)
def test_spellings_and_junk_do_not_make_a_second_client(service: Service) -> None:
    behind(service, 1)
    proxy = service.client(address=PROXY)
    works(who(proxy, CLIENT)["network"] == CLIENT, "a client address counts as one client")
    works(who(proxy, "198.51.100.1")["network"] == "198.51.100.1", "a different address counts as a different client")
    same = [
        CLIENT,
        f"{CLIENT}:5",
        f"{CLIENT}:51234",
        f"[{CLIENT}]",
        f"::ffff:{CLIENT}",
        f"[::ffff:{CLIENT}]:5",
        f" {CLIENT}\t",
    ]
    found = {text: who(proxy, text) for text in same}
    harm({text: one for text, one in found.items() if one["network"] != CLIENT}, "a spelling has a counter of its own")
    site = [f"2001:db8::{number:x}" for number in range(1, 30)]
    site += ["2001:DB8:0:0::1", "[2001:db8::1]:443", "2001:db8::1%eth0", "[2001:db8::1%25eth0]"]
    assert {who(proxy, text)["network"] for text in site} == {"2001:db8::/64"}
    apart = {who(proxy, f"::ffff:{text}")["network"] for text in (CLIENT, "198.51.100.1")}
    assert apart == {CLIENT, "198.51.100.1"}
    seen = len(service.log)
    junk = (
        "abc<script>",
        "x" * 5_000,
        "",
        "unknown",
        "_hidden",
        "203.0.113.9:x",
        "203.0.113.9:5:5",
        "[203.0.113.9]:x",
        "[203.0.113.9]x5",
        "[::1",
        "1.2.3",
        "0x7f.1",
    )
    for text in (*junk, "203.0.113.09", "::ffff:1.2.3.4.5", "\u0661.1.1.1", "203.0.113.9,"):
        one = who(proxy, text)
        harm(one["network"] != PROXY, f"{text[:20]!r} has its own rate-limit counter")
    logged = [event for event in service.log[seen:] if event.get("reason") == CANONICAL]
    assert [event["proxy"] for event in logged] == [PROXY]  # one line a minute, and nothing of what was sent
    assert "script" not in json.dumps(logged)
