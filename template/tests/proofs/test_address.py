"""Proofs of edge/address.py: only the entry of a trusted proxy sets the client address, not a client's own headers.

A forged address gives each guess a new counter, and puts somebody else's into the audit trail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .logins import PATH
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from .real_server import RealServer
    from .running import Service
    from .wire import BaseClient


HOPS = "proxy-hops-explicit"
PEER = "proxy-peer-trusted"
CANONICAL = "client-address-canonical"
PROXY = "10.0.0.7"
CLIENT = "203.0.113.9"
PROXIED = {f"x-forwarded-{name}" for name in ("for", "proto", "host", "prefix", "port", "ssl", "scheme")}
OTHERS = (
    *("X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("Forwarded", "X-Forwarded", "X-Cluster-Client-IP"),
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


@protects(HOPS, hops=edit("edge/address.py", "client = parse(entries[-self._hops])", "client = parse(entries[0])"))
def test_what_a_client_writes_before_the_proxys_entry_counts_for_nothing(service: Service) -> None:
    behind(service, 1)
    proxy = service.client(address=PROXY)
    plain = who(proxy, CLIENT)
    works((plain["address"], plain["scheme"]) == (CLIENT, "https"), "the service uses the proxy's address and scheme")
    forged = who(proxy, f"1.1.1.1, {CLIENT}", X_Real_IP="1.1.1.1", X_Forwarded_Host="other.example")
    harm(forged["network"] != CLIENT, "a client chose the address that the rate limits count")
    assert (forged["address"], forged["host"], forged["told"]) == (CLIENT, HOST, [])


# --- from whom -------------------------------------------------------------------------------------------------


@protects(PEER, peer=edit("edge/address.py", "return self._known(peer.address)", "return True"))
def test_nobody_but_a_listed_proxy_says_who_asks_and_how(service: Service) -> None:
    behind(service, 1, f"{PROXY}/32")
    one = who(service.client(address=PROXY), CLIENT)
    works((one["address"], one["scheme"]) == (CLIENT, "https"), "the service trusts the listed proxy")
    for peer in ("10.0.0.8", "192.0.2.1", "::1"):
        stranger = service.client(address=peer)
        harm("scheme" in who(stranger, CLIENT), f"the untrusted peer {peer} made a clear-text request count as https")
        answer = stranger.get("/who", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"})
        harm(answer.json["address"] == CLIENT, f"the untrusted peer {peer} set the client address")


def kept_by(service: Service, server: RealServer, *lines: str) -> str:
    """The address that the server keeps of a request that comes through the proxy with these lines."""
    body = "identifier=a&password=b"  # of a wrong type: refused, and logged, before any hash
    head = (f"POST {PATH} HTTP/1.1", f"Host: {HOST}", f"Origin: {ORIGIN}", "Sec-Fetch-Site: same-origin", *lines)
    tail = ("Content-Type: text/plain", f"Content-Length: {len(body)}", "Connection: close", "", body)
    seen = len(server.output)
    service.raw(server, "\r\n".join((*head, *tail)).encode())
    found = [json.loads(line) for line in server.output[seen:].splitlines() if line.startswith("{")]
    return str(
        next((event.get("ip") or event.get("address") for event in found if event.get("level") != "info"), found)
    )


@protects(PEER, underscore=edit("server/gunicorn.py", 'header_map = "drop"', 'header_map = "dangerous"'))
def test_no_other_spelling_of_the_header_replaces_the_proxys(service: Service) -> None:
    server = service.real_server()
    honest = (f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")
    works(kept_by(service, server, *honest) == CLIENT, "the service reads the proxy's header")
    forged = kept_by(service, server, *honest, "X_Forwarded_For: 198.51.100.1")
    harm("198.51.100.1" in forged, "a client's X_Forwarded_For header set the client address")
    assert forged == CLIENT


# --- in one spelling -------------------------------------------------------------------------------------------


@protects(
    CANONICAL,
    parse=edit(
        "edge/address.py",
        "        return client or proxy\n",
        "        return Client(entries[-1].strip(), entries[-1].strip())\n",
    ),
)
def test_no_spelling_of_an_address_is_a_second_client(service: Service) -> None:
    behind(service, 1)
    proxy = service.client(address=PROXY)
    works(who(proxy, "198.51.100.1")["network"] == "198.51.100.1", "a different address counts as a different client")
    for text in (CLIENT, f"{CLIENT}:51234", f"[{CLIENT}]", f"::ffff:{CLIENT}"):
        harm(who(proxy, text)["network"] != CLIENT, f"the spelling {text} has its own rate-limit counter")
    for text in ("2001:db8::1", "2001:DB8:0:0::2", "[2001:db8::3]:443"):
        assert who(proxy, text)["network"] == "2001:db8::/64"
    for text in ("abc<script>", "x" * 5_000, "", "203.0.113.09"):
        harm(who(proxy, text)["network"] != PROXY, f"{text[:20]!r} has its own rate-limit counter")
