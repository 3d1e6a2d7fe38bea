"""Unit tests beside the proofs in test_keys.py."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ...edges.jwt.test_keys import KEYS_OF_STANDARDS, jwk_of, states
from ...jwt.forging import three_keys
from ...jwt.test_keys import PUBLIC
from ...rings import rotate

if TYPE_CHECKING:
    import pytest

    from ...running import Service


# --- jwt-key-rotation-jwks ----------------------------------------------------------------------------------------

RETIRING = ("active", "retired")


def halves(text: str) -> str:
    return f"{text[:21]} {text[21:]}"


def test_a_key_has_the_name_and_the_parts_that_standards_print(service: Service) -> None:
    """Another verifier computes them by itself (RFC 7638)."""
    edwards, curve = (jwk_of(service, *KEYS_OF_STANDARDS[name]) for name in ("RFC 8037, A", "RFC 7515, A.3"))
    assert halves(edwards["kid"]) == "kPrK_qmxVWaYVA9wwBF6I uo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, A.3
    assert halves(curve["x"]) == "f83OJ3D2xF1Bg8vub9tLe 1gHMzV76e8Tus9uPHvRVEU"
    assert halves(curve["y"]) == "x_FEzRu9m36HLN_tue659 LNpXW6pCyStikYjKIWI5a0"
    assert halves(curve["kid"]) == "oKIywvGUpTVTyxMQ3bwII eQUudfr_CkLMjCE19ECD-U"
    for jwk in (edwards, curve):
        assert jwk.keys() - {"y"} == {*PUBLIC, "d", "status", "since"}
        assert jwk["use"] == "sig"


def test_a_retired_key_leaves_the_ring_once_nothing_can_need_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where exceptions.toml lets tokens live for a quarter of an hour."""
    service.secret("JWT_KEYS", json.dumps({"keys": [service.module("jwt.keys").generate(status=s) for s in RETIRING]}))
    service.travel(seconds=1520)
    assert states(rotate(service, monkeypatch, "jwt")[1]) == ["active", "retired", "next"]
    service.travel(seconds=11)
    assert states(rotate(service, monkeypatch, "jwt")[1]) == ["active", "next"]


def test_an_operator_sees_how_long_the_keys_of_tokens_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from ...test_settings import command

    three_keys(service)
    service.travel(seconds=1)
    code, text = command(service, monkeypatch, "secrets", "list")
    told = text.partition("\nJWT_KEYS ")[2].splitlines()
    assert (code, [re.sub(r"for \d s", "for now", line.strip()) for line in told[2:5]]) == (
        0,
        [
            "key 1: next for now, can become active in 10 min",  # 660 s
            "key 2: active for now",
            "key 3: retired for now, needed for 25 min",  # 1530 s
        ],
    )


def test_a_ring_that_the_command_writes_is_a_new_one_that_the_service_takes(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ...test_settings import command

    seen = service.adds_route("/probe")
    written = set[str]()
    for algorithm, option in {"EdDSA": (), "ES256": ("--algorithm", "ES256")}.items():
        code, text = command(service, monkeypatch, "keys", "new", "jwt", *option)
        assert code == 0
        [jwk] = json.loads(text)["keys"]
        assert (jwk["alg"], jwk["status"]) == (algorithm, "active")
        service.restart(JWT_KEYS=text.strip())
        assert service.client(service.user()).login().get("/probe").status == 200
        written.add(jwk["kid"])
    assert len(written) == len(seen) == 2
    assert command(service, monkeypatch, "keys", "new", "jwt", "--algorithm", "HS256")[0] == 2
