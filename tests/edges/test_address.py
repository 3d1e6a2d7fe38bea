"""Edges of the proofs in test_address.py: further attacks on the same protections."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ..harness import edit, harm, protects, works
from ..service import AUTH
from ..test_address import CANONICAL, CLIENT, HOPS, PEER, PROXY, behind, who
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
def test_the_scheme_is_the_nearest_proxys_and_without_one_nobodys(service: Service) -> None:
    behind(service, 2)
    proxy = service.client(address=PROXY)
    works(who(proxy, f"{CLIENT}, 10.0.0.8")["scheme"] == "https", "two proxies, and one value of the scheme")
    works(who(proxy, f"1.1.1.1, {CLIENT}, 10.0.0.8")["address"] == CLIENT, "the second from the right is the client")
    lied = who(proxy, f"{CLIENT}, 10.0.0.8", proto="https, http")
    harm("scheme" in lied, "what the client wrote before the proxy's value made https of a clear line")
    assert lied == {"status": 308 if AUTH == "session" else 403}
    service.restart(BASTION_PROXY_HOPS="0")  # whichever proxies there are
    direct = service.client(address="10.0.0.7")
    lied = who(direct, CLIENT)
    harm("scheme" in lied, "a client lifted the rule of https by a header, without any proxy")
    answer = direct.get("/who", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "http"})
    assert (answer.json["address"], answer.json["scheme"], answer.json["told"]) == ("10.0.0.7", "https", [])


@protects(HOPS, boot=edit("guards.py", "    if settings.proxy_hops is None:\n", "    if settings.proxy_hops == -1:\n"))
def test_nobody_starts_without_having_counted_the_proxies(service: Service) -> None:
    works(service.start(BASTION_PROXY_HOPS="0").app is not None, "a service without a proxy starts")
    trusted = {"BASTION_TRUSTED_PROXIES": "10.0.0.0/8"}
    works(service.start(BASTION_PROXY_HOPS="3", **trusted).app is not None, "one behind three starts")
    tried = service.start(BASTION_PROXY_HOPS=None)
    harm(tried.app is not None, "it started without knowing how many proxies there are")
    assert tried.reasons == ["BASTION_PROXY_HOPS is not set. Count the proxies in front of this service (0 to 3)."]
    for wrong in ("-1", "4", "1.5", "x", "*"):
        assert [one.partition(":")[0] for one in service.start(BASTION_PROXY_HOPS=wrong, **trusted).reasons] == [
            "BASTION_PROXY_HOPS"
        ]


# --- from whom -------------------------------------------------------------------------------------------------

JOINS = "(one for one in settings.trusted_proxies if isinstance(one, IPv4"


@protects(
    PEER,
    empty=edit("guards.py", "    if settings.proxy_hops and not (", "    if settings.proxy_hops == -1 and not ("),
    everybody=edit("guards.py", "one.prefixlen < WIDEST[one.version]", "one.prefixlen < 0"),
    halves=edit(
        "guards.py", "collapse_addresses(one for one in settings.trusted_proxies if isinstance(one, IPv4", JOINS
    ),
)
def test_no_list_of_proxies_is_empty_or_holds_everybody(service: Service) -> None:
    one_hop = {"BASTION_PROXY_HOPS": "1"}
    works(service.start(**one_hop, BASTION_TRUSTED_PROXIES="10.0.0.0/8,::1/128").app is not None, "networks start")
    ours = "10.0.0.0/8,172.16.0.0/12,104.0.0.0/8,35.191.0.0/16,fc00::/7,2600::/16,2400:cb00::/32"
    works(service.start(**one_hop, BASTION_TRUSTED_PROXIES=ours).app is not None, "private and a hoster's networks too")
    parts = ",".join(f"{first}.0.0.0/8" for first in range(256))  # each as narrow as it must be
    everybody = ("0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "::/1", parts)
    for wrong in (None, "", " , ", *everybody, "10.0.0.0/7", "104.0.0.0/8,105.0.0.0/8", "2600::/15"):
        tried = service.start(**one_hop, BASTION_TRUSTED_PROXIES=wrong)
        harm(tried.app is not None, f"it started with {wrong!r}")
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
def test_whatever_stands_in_the_headers_the_address_is_one_in_its_one_spelling(service: Service) -> None:
    behind(service, 1)
    works(who(service.client(address=PROXY), CLIENT)["address"] == CLIENT, "the proxy's entry counts")
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
    harm(wrong, f"an address is none, or not in its one spelling: {wrong[:3]}")
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
    works(most == 60, "a lower ceiling was declared")
    works(who(proxy, "2001:db8:2::1")["network"] == "2001:db8:2::/64", "another site is served")
    served = [who(proxy, f"2001:db8:1:{number % 50:x}::1") for number in range(5 * most)]
    works(all("network" in one for one in served), "fifty of one site have five times as much")
    over = who(proxy, "2001:db8:1:ffff::1")
    harm("network" in over, "a /64 that is new each time passes by every counter")
    assert over == {"status": 429}
    assert "network" in who(proxy, "2001:db8:2::1")
