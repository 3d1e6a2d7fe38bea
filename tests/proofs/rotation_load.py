# mypy: ignore-errors
# It is checked where it runs: its neighbours are those of a rendered service.
"""Every key is exchanged under load, at two running servers that read the secrets at moments of their own.

It stops proofs of a rotation from holding in one process, between two requests, and nowhere else. It runs in a service,
into which test_rotation_under_load.py copies it.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

from .edges.test_crypto import Vault, reencrypt
from .load_servers import Crowd, Servers, settle, tell
from .logins import HashSpy, attempt, cheap_user
from .rings import KNOWN, rotate, stolen, within
from .service import AUTH, SECRETS
from .test_throttle import guess, most

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .running import Service

ROTATES: bool = importlib.import_module(f".backend_{SECRETS}", __package__).ROTATES
KINDS = {"session": "SECRET_KEY", "data": "DATA_KEY", "jwt": "JWT_KEYS"}
WAITS = {"jwt": KNOWN + 300}
DAY, MINUTE = 86_400, 60
# What the page cryptography.md says, in seconds since the key was retired; DATA_KEY goes by a command alone.
REFUSED_AFTER = {
    "session": DAY + 10 * MINUTE,
    "jwt": 20 * MINUTE + 30,  # a token lives for ten, and clocks may differ
}


def test_no_request_fails_and_nobody_is_signed_out_while_every_key_is_exchanged(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vault = Vault(service)
    settle(service)
    HashSpy(service, quick=True)
    seed = vault.add()
    servers = Servers(service, tmp_path)
    kinds = [kind for kind in KINDS if kind != "jwt" or AUTH == "jwt"]
    former = {kind: service.environment.secrets[KINDS[kind]] for kind in kinds}
    retired: dict[str, float] = {}
    waited = 0
    together = [[kind] for kind in kinds] if ROTATES else [kinds]  # who restarts for one of them does it for all
    with Crowd(servers) as crowd:
        for group in together:
            for step in ("published", "activated"):
                victim = cheap_user(service)
                guess(service, victim.email, most(service))
                turned = {KINDS[kind]: rotate(service, monkeypatch, kind) for kind in group}
                assert {code for code, _ in turned.values()} == {0}
                exchange(service, servers, **{name: text for name, (_, text) in turned.items()})
                if step == "activated":
                    retired |= {kind: since_retired(turned[KINDS[kind]][1]) for kind in group}
                crowd.goes_round()
                crowd.travels(max(WAITS.get(kind, KNOWN) for kind in group))
                if step == "published" or "session" not in group:  # with another SECRET_KEY all is counted anew
                    assert attempt(servers.serve(service.client()), victim.email, victim.password).status == 429
                    waited += 1
    crowd.check()
    assert vault.get(seed).status == 200
    for kind in sorted(retired.keys() - {"data"}, key=lambda kind: REFUSED_AFTER[kind]):
        for left, counted in ((-5, True), (5, False)):
            servers.travel(retired[kind] + REFUSED_AFTER[kind] + left - service.now().timestamp())
            found = counts(service, servers, kind, former[kind])
            assert found == [counted] * len(found), f"{kind}: {left} s after its end {found}"
    assert reencrypt(service, monkeypatch)[0] == 0
    assert vault.get(seed).status == 200
    with service.app.app_context():
        assert service.module("audit.chain").verify().fault is None
    refused = ", ".join(
        f"{KINDS[kind]} {REFUSED_AFTER[kind] / MINUTE:g} min" for kind in REFUSED_AFTER if kind in kinds
    )
    tell(
        "keys",
        f"{crowd.figures()}; {2 * len(kinds)} steps; {waited} of {waited} accounts that had to wait went on waiting; a "
        f"retired key is refused after: {refused}",
    )


def exchange(service: Service, servers: Servers, **secrets: str) -> None:
    """Store them as an operator does: where the servers look, or else for servers that are started anew, in turn."""
    if ROTATES:
        service.rotate(**secrets)
        return
    service.restart(**secrets)
    HashSpy(service, quick=True)
    servers.restart_in_turn()


def since_retired(text: str) -> float:
    """When the key that was retired last has been, in seconds since the epoch."""
    return max(jwk["since"] for jwk in json.loads(text)["keys"] if jwk["status"] == "retired")


def counts(service: Service, servers: Servers, kind: str, former: str) -> list[bool]:
    """Whether what somebody makes with this key is still accepted: by this process, or by each of the servers."""
    if kind == "session":
        signing = service.module("crypto.signing")
        forged = stolen(service, former)
        return [within(service.app, signing.unsign, "proof", forged, signing.timedelta(days=9)) is not None]
    from .jwt.forging import Key, claims_of

    person = servers.serve(service.client(service.user())).login()
    claims: Any = claims_of(person.token)
    person.token = Key.of(json.loads(former)["keys"][0]).token(claims)
    return [person.account().status == 200 for _ in servers.running]
