"""Proofs of jwt/keys.py: no token brings its key, and what was verified once is no way round what can change.

Each forgery carries the live `sub` and `sid` of a real login, so that nothing but the check under attack can refuse it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..harness import edit, harm, protects, works
from .forging import LEFT_OUT, Key, Target, changed, claims_of, data, forged, ring_of, text, three_keys

if TYPE_CHECKING:
    import pytest

    from ..running import Service

TOKENS, KEYS, MEMORY = "jwt/tokens.py", "jwt/keys.py", "verified.py"
SOURCE, SAFE, SIGNATURE = "jwt-key-source-pinned", "jwt-verified-cache-safe", "jwt-signature-verified"
_SPKI = PublicFormat.SubjectPublicKeyInfo

# --- where the key comes from -----------------------------------------------------------------------------------

PINNED = (
    "    if KEY_FROM_OUTSIDE & header.keys():\n"
    '        raise InvalidToken("jwt-key-source-pinned")\n'
    '    key = ring.keys.get(header.get("kid"))\n'
)


def takes(condition: str, public: str) -> Any:
    """The key of a token is `public` where `condition` holds, and one of the ring otherwise."""
    return edit(
        TOKENS,
        PINNED,
        '    key = ring.keys.get(str(header.get("kid")))\n'
        f"    if {condition}:\n"
        "        from dataclasses import replace\n\n"
        f"        key = replace(ring.active, public={public})\n",
    )


def public_jwk(key: Key) -> dict[str, str]:
    """The attacker's Ed25519 key as everybody publishes his own."""
    number = text(key.public(Encoding.Raw, PublicFormat.Raw))
    return {"kty": "OKP", "crv": "Ed25519", "x": number, "kid": key.kid, "alg": "EdDSA", "use": "sig"}


@contextmanager
def key_server(jwk: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A server of the attacker's that gives his key set to everybody: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"keys": [jwk]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys.json", asked
        server.shutdown()


@protects(SOURCE, jwk=takes('"jwk" in header', 'jwt.PyJWK(header["jwk"]).key'))
def test_a_token_does_not_bring_its_key(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        mine = Key.new("EdDSA", key.kid)
        jwk = public_jwk(mine)
        for what, more in {
            "its own jwk": {"jwk": jwk},
            "its own jwk and no kid": {"jwk": jwk, "kid": LEFT_OUT},
            "a chain of certificates": {"jwk": jwk, "x5c": [text(mine.public(Encoding.DER, _SPKI))]},
        }.items():
            target.attack(what, mine.token(target.claims, **more), SOURCE)
        for name in ("jwk", "x5c", "jku", "x5u"):  # even beside the right signature, and of no use
            values: tuple[Any, ...] = (jwk, [], "", None)
            for value in values:
                target.attack(f"the member {name}", key.token(target.claims, **{name: value}), SOURCE)


@protects(
    SOURCE,
    jku=takes(
        '{"jku", "x5u"} & header.keys()',
        'jwt.PyJWKClient(header.get("jku") or header["x5u"]).get_signing_key(header["kid"]).key',
    ),
)
def test_no_key_is_fetched_from_where_a_token_says(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        mine = Key.new("EdDSA", key.kid)
        with key_server(public_jwk(mine)) as (address, asked):
            with urlopen(address) as answer:  # noqa: S310  (our own)
                works(json.load(answer)["keys"][0]["kid"] == key.kid, "the attacker's server gives his key")
            asked.clear()
            for name in ("jku", "x5u"):
                target.show(mine.token(target.claims, **{name: address}))
                harm(asked, f"the service fetched a key from the {name} of a token")
                target.attack(f"a {name}", mine.token(target.claims, **{name: address}), SOURCE)
            assert asked == []


FROM_FILE = (
    "__import__('cryptography.hazmat.primitives.serialization', fromlist=['x'])"
    '.load_pem_public_key(__import__("pathlib").Path(header["kid"]).read_bytes())'
)


@protects(SOURCE, kid_form=takes("key is None", FROM_FILE))
def test_a_kid_is_the_name_of_a_key_of_the_ring_and_of_nothing_else(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    mine = Key.new("EdDSA", "x")
    file = service.folder / "uploaded.pem"  # in the service's reach, and not of its ring
    file.write_bytes(mine.public(Encoding.PEM, _SPKI))
    near = os.path.relpath(file, Path.cwd())
    for kid in (str(file), near, f"./{near}"):
        target.attack(f"the kid {kid!r}", mine.token(target.claims, kid=kid), SOURCE)
    known = target.keys[1].kid
    kids: tuple[Any, ...] = (
        *("../../dev/null", "/dev/null", "/proc/self/environ", f"../{known}", f"{known}/../{known}", f"{known}.pem"),
        *("' OR 1=1 --", f"{known}' OR '1'='1", "x' UNION SELECT 'a", f"{known} ", f" {known}"),
        *(known[:-1], known.swapcase(), f"{known}=", "*", "%", "", "x" * 64, "x" * 100, "\u212a", "active", "0"),
        *(LEFT_OUT, None, 0, True, 1.5),
    )
    for kid in kids:
        for key in target.keys:  # signed by the right key: but for its name the token is good
            target.attack(f"the kid {kid!r}", key.token(target.claims, kid=kid), SOURCE)
    unread: tuple[Any, ...] = ([known], {"kid": known}, f"{known}\x00")
    for kid in unread:
        target.attack(f"the kid {kid!r}", target.keys[1].token(target.claims, kid=kid), "jwt-malformed-is-401")
    long = target.keys[1].token(target.claims, kid="x" * 10_000)
    target.attack("a kid of 10,000 characters", long, "jwt-malformed-is-401")
    empty = forged(changed(mine.header, alg="HS256", kid="../../dev/null"), target.claims, lambda _: b"")
    target.attack("a kid that names an empty file", empty, SOURCE)


# --- what was verified once ---------------------------------------------------------------------------------------


class Memory:
    """A login whose token was verified once, and how often the library has verified since."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self.target = Target(service, three_keys(service))
        library = service.module("jwt.tokens").jwt
        real = library.decode
        self.verified: list[str] = []

        def spy(token: str, *arguments: Any, **options: Any) -> Any:
            self.verified.append(token)
            return real(token, *arguments, **options)

        monkeypatch.setattr(library, "decode", spy)
        self.target.honest()
        self.hit()

    @property
    def token(self) -> str:
        """The owner's token."""
        return str(self.target.owner.token)

    def hit(self) -> None:
        """The owner's token is good, and is not verified again."""
        self.verified.clear()
        works(self.target.owner.get("/probe").status == 200, "a token that was verified reaches the view")
        works(self.verified == [], "no signature was verified for it")
        self.target.seen.clear()

    def size(self) -> int:
        """How many texts are remembered."""
        with self.service.app.app_context():
            return len(self.service.module("jwt.keys").ring().verified)


@protects(
    SAFE,
    key=edit(
        MEMORY,
        'hashlib.sha256(text.encode("utf-8", "surrogatepass"))',
        'hashlib.sha256(text.rpartition(".")[0].encode("utf-8", "surrogatepass"))',
    ),
)
def test_only_the_very_same_text_is_remembered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    signed, _, signature = memory.token.rpartition(".")
    other = claims_of(memory.target.mallory.token)
    stolen = text(json.dumps(changed(memory.target.claims, sub=other["sub"], sid=other["sid"])).encode())
    for what, token in (
        ("no signature", f"{signed}."),
        ("another signature", f"{signed}.{text(bytes(64))}"),
        ("one changed bit", f"{signed}.{text(bytes([data(signature)[0] ^ 1]) + data(signature)[1:])}"),
        ("padding", f"{memory.token}=="),
        ("other claims under its signature", f"{signed.partition('.')[0]}.{stolen}.{signature}"),
    ):
        memory.target.attack(what, token, SIGNATURE)
    memory.hit()


@protects(SAFE, exp=edit(TOKENS, "        _check_now(claims, ring)\n", "        known or _check_now(claims, ring)\n"))
def test_a_token_that_was_verified_ends_all_the_same(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    service.travel(seconds=service.limits.access_token_seconds + 31)
    memory.target.attack("a past end, seen before", memory.token, "jwt-access-10-min")


@protects(
    SAFE,
    row=edit(
        "jwt/bearer.py",
        "    principal = sessions.find_by_id(claims.session_id, claims.user_id)\n",
        '    kept = sessions.__dict__.setdefault("kept", {})\n'
        "    if token not in kept:\n"
        "        kept[token] = sessions.find_by_id(claims.session_id, claims.user_id)\n"
        "    principal = kept[token]\n",
    ),
)
def test_a_token_that_was_verified_ends_with_its_login(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    token = memory.token
    assert memory.target.owner.copy().post("/auth/logout").status == 204
    memory.target.attack("a login that has ended, seen before", token, "jwt-sid-checked")


@protects(
    SAFE,
    ring=(
        edit(
            KEYS,
            "                self._ring, self._text = parse(text), text\n",
            "                from dataclasses import replace\n\n"
            "                self._ring, self._text = replace(parse(text), verified=self._ring.verified), text\n",
        ),
        edit(
            TOKENS,
            "    if not ring.keys[claims.key_id].verifies_at(",
            "    if claims.key_id in ring.keys and not ring.keys[claims.key_id].verifies_at(",
        ),
    ),
)
def test_what_a_key_verified_goes_with_the_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    keys = service.module("jwt.keys")
    [_, active, _] = service_ring(service)
    without = json.dumps({"keys": [keys.generate()]})
    held = service.app.extensions[keys.EXTENSION]
    monkeypatch.setattr(held, "_read", lambda: without)  # the key was stolen: the operator puts in another ring
    service.travel(seconds=11)
    assert active["kid"] == json.loads(data(memory.token.partition(".")[0]))["kid"]
    memory.target.attack("a key that left the ring", memory.token, SOURCE)
    assert memory.size() == 0


def service_ring(service: Service) -> list[dict[str, Any]]:
    """The private keys that the service has."""
    with service.app.app_context():
        ring = service.module("state").state().secrets.get("JWT_KEYS").reveal()
    found: list[dict[str, Any]] = json.loads(ring)["keys"]
    return found


@protects(SAFE, bound=edit(MEMORY, "            if len(self._found) >= self._most:", "            if self._most < 0:"))
def test_what_is_remembered_has_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    most = service.module("verified").MOST
    verify, key, claims = service.module("jwt.tokens").verify_access_token, memory.target.keys[1], memory.target.claims
    with service.app.app_context():
        for number in range(most + 50):
            verify(key.token({**claims, "jti": f"{number}"}))
    harm(memory.size() > most, "each token more takes memory")
    assert memory.size() == most
    before = len(memory.verified)
    works(memory.target.owner.get("/probe").status == 200, "the oldest is out, and is verified once more")
    assert len(memory.verified) == before + 1
    memory.target.seen.clear()
    for number in range(200):
        memory.target.attack("no signature", f"{key.token({**claims, 'jti': f'x{number}'})[:-86]}", SIGNATURE)
    assert memory.size() == most


@protects(SAFE, copy=edit("jwt/claims.py", "@dataclass(frozen=True, slots=True)", "@dataclass(slots=True)"))
def test_no_request_changes_what_the_next_one_sees(service: Service) -> None:
    [key] = ring_of(service, [service.module("jwt.keys").generate()])
    victim: list[Any] = []

    def careless() -> dict[str, str]:
        """A function of the team's that writes into what it was given."""
        from flask import request

        token = request.headers["Authorization"].partition(" ")[2]
        claims = service.module("jwt.tokens").verify_access_token(token)
        claims.user_id, claims.session_id = victim
        return {"changed": "yes"}

    service.adds_route("/careless", view=careless)
    owner, other = service.client(service.user()).login(), service.client(service.user()).login()
    assert owner.user is not None
    works(owner.get("/auth/me").json["email"] == owner.user.email, "a token names its user")
    works(key.kid in service.client().get("/.well-known/jwks.json").text, "by the key of the ring")
    theirs = claims_of(other.token)
    victim += [UUID(theirs["sub"]), UUID(theirs["sid"])]
    tried = owner.get("/careless")
    after = owner.get("/auth/me").json
    harm(after["email"] != owner.user.email, "one request made the next one another user's")
    assert tried.status == 500
