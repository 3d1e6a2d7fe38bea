"""Attacks by who somebody says that he is: a client writes any header, so only what a trusted proxy added may count.

A forged address gives each guess a new counter, and puts somebody else's into the audit trail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, insert, protects, refused, works
from .logins import PATH
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from .running import Service
    from .wire import BaseClient


HOPS = "proxy-hops-explicit"
PEER = "proxy-peer-trusted"
CANONICAL = "client-address-canonical"
PROXY = "10.0.0.7"
CLIENT = "203.0.113.9"
PROXIED = {f"x-forwarded-{name}" for name in ("for", "proto", "host", "prefix", "port", "ssl", "scheme")}
OTHERS = (
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Forwarded",
    "X-Forwarded",
    "X-Cluster-Client-IP",
)


def behind(service: Service, hops: int, networks: str | None = "10.0.0.0/8") -> None:
    """Let the service stand behind so many proxies; a route says what it makes of a request."""
    service.setting("BASTION_PROXY_HOPS", str(hops))
    service.setting("BASTION_TRUSTED_PROXIES", networks if hops else None)

    def who() -> Any:
        from flask import request

        told = [name for name, _ in request.headers if name.lower() in {*map(str.lower, OTHERS), *PROXIED}]
        network = request.environ[service.module("edge.address").CLIENT].network
        seen = {"address": request.remote_addr, "network": network, "told": told}
        return {**seen, "scheme": request.scheme, "host": request.host, "root": request.script_root}

    service.adds_route("/who", mark="public", view=who)


def who(
    client: BaseClient, forwarded: str | None = None, proto: str | None = "https", **headers: str
) -> dict[str, Any]:
    """What the service makes of a request that comes in clear text from a proxy with these headers."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {} if forwarded is None else {"X-Forwarded-For": forwarded}
    sent |= {} if proto is None else {"X-Forwarded-Proto": proto}
    answer = client.get("/who", headers=sent, scheme="http")
    found: dict[str, Any] = answer.json if answer.ok else {"status": answer.status}
    return found


# --- how many proxies ------------------------------------------------------------------------------------------


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
def test_what_a_client_writes_before_the_proxys_entry_counts_for_nothing(service: Service) -> None:
    behind(service, 1)
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},other.example")
    proxy = service.client(address=PROXY)
    plain = who(proxy, CLIENT)
    works((plain["address"], plain["scheme"]) == (CLIENT, "https"), "the proxy's entry and scheme count")
    forged = [who(proxy, f"1.1.1.{number}, {CLIENT}") for number in range(60)]
    harm([one["network"] for one in forged if one["network"] != CLIENT], "a client chose the address that is counted")
    assert who(proxy, f"1.1.1.1 , {CLIENT} ")["address"] == CLIENT
    for name in OTHERS:
        one = who(
            proxy, CLIENT, **{name.replace("-", "_"): "for=198.51.100.1" if name == "Forwarded" else "198.51.100.1"}
        )
        harm(one["address"] != CLIENT, f"{name} was believed")
        assert one["told"] == []
    hosted = who(proxy, CLIENT, X_Forwarded_Host="other.example", X_Forwarded_Prefix="/evil", X_Forwarded_Port="1")
    assert who(proxy, CLIENT, X_Forwarded_Ssl="on", X_Forwarded_Scheme="https")["told"] == []  # nothing believes them
    harm(hosted["host"] != HOST, "X-Forwarded-Host was believed")
    assert (hosted["root"], hosted["told"]) == ("", [])


# --- from whom -------------------------------------------------------------------------------------------------


@protects(PEER, peer=edit("edge/address.py", "return self._known(peer.address)", "return True"))
def test_nobody_but_a_listed_proxy_says_who_asks_and_how(service: Service) -> None:
    behind(service, 1, f"{PROXY}/32, 2001:db8::/64")
    for peer in (PROXY, f"::ffff:{PROXY}", "2001:db8::5"):
        one = who(service.client(address=peer), CLIENT)
        works((one["address"], one["scheme"]) == (CLIENT, "https"), f"the listed peer {peer} is believed")
    for peer in ("10.0.0.8", "192.0.2.1", "2001:db8:0:1::5", "::1", "", "unix:", "junk"):
        stranger = service.client(address=peer)
        harm("scheme" in who(stranger, CLIENT), f"the peer {peer!r} made https of a clear line")
        answer = stranger.get("/who", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"})
        harm(answer.json["address"] == CLIENT, f"the peer {peer!r} said who asks")
        refused(stranger.post("/who", headers={"X-Forwarded-Proto": "https"}, scheme="http"), 403, "https-only")


@protects(PEER, underscore=edit("gunicorn.py", 'header_map = "drop"', 'header_map = "dangerous"'))
def test_no_other_spelling_of_the_header_replaces_the_proxys(service: Service) -> None:
    server = service.real_server()

    def asked(*lines: str) -> str:
        """The address that the service keeps of a request that comes through the proxy with these lines."""
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
    works(asked(*honest) == CLIENT, "the proxy's header is read")
    for forged in ("X_Forwarded_For: 198.51.100.1", "X-Forwarded_For: 198.51.100.1", "x_forwarded-for: 198.51.100.1"):
        for lines in ((*honest, forged), (forged, *honest)):
            harm("198.51.100.1" in asked(*lines), f"{forged} was read beside the proxy's own")


# --- in one spelling -------------------------------------------------------------------------------------------


@protects(
    CANONICAL,
    parse=edit(
        "edge/address.py",
        "        return client or proxy\n",
        "        return Client(entries[-1].strip(), entries[-1].strip())\n",
    ),
    mapped=edit("edge/address.py", "        if address.ipv4_mapped is None:\n", "        if address:\n"),
)
def test_no_spelling_of_an_address_is_a_second_client(service: Service) -> None:
    behind(service, 1)
    proxy = service.client(address=PROXY)
    works(who(proxy, CLIENT)["network"] == CLIENT, "an address is one")
    works(who(proxy, "198.51.100.1")["network"] == "198.51.100.1", "another is another")
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
    harm({text: one for text, one in found.items() if one["network"] != CLIENT}, "a spelling is a counter of its own")
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
        harm(one["network"] != PROXY, f"{text[:20]!r} is a counter of its own")
    told = [event for event in service.log[seen:] if event.get("reason") == CANONICAL]
    assert [event["proxy"] for event in told] == [PROXY]  # one line a minute, and nothing of what was sent
    assert "script" not in json.dumps(told)
