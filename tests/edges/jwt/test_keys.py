"""Edges of the proofs in test_keys.py: further attacks on the same protections."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding

from ...environment import stubbed
from ...harness import edit, harm, protects, refused, works
from ...jwt import test_keys as core
from ...jwt.forging import LEFT_OUT, Key, Target, changed, claims_of, data, forged, ring_of, text, three_keys
from ...jwt.test_keys import _SPKI, JWKS, KEYS, MEMORY, ROTATION, SAFE, SIGNATURE, SOURCE, TOKENS, public_jwk, takes
from ...jwt_client import private_key
from ...rings import rotate
from ..core import sabotages

if TYPE_CHECKING:
    import pytest

    from ...jwt.forging import Content
    from ...running import Service


# --- where the key comes from -----------------------------------------------------------------------------------


@contextmanager
def key_server(jwk: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Run the attacker's key server: yield its address, and the paths that it was asked for."""
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
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys.json", asked
        server.shutdown()


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
                works(json.load(answer)["keys"][0]["kid"] == key.kid, "the attacker's server serves the attacker's key")
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
def test_a_kid_only_names_a_key_of_the_ring(service: Service) -> None:
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


# --- remembered signatures ----------------------------------------------------------------------------------------


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
    ring=(
        edit(
            KEYS,
            "                ring = parse(text)\n",
            "                from dataclasses import replace\n\n"
            "                ring = replace(parse(text), verified=ring.verified)\n",
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
    secrets = service.module("secrets")
    stub = SimpleNamespace(get=lambda _name: secrets.Secret(without), refresh=lambda _name: False)
    monkeypatch.setattr(held, "_secrets", stub)  # the key was stolen: the operator puts in another ring
    service.travel(seconds=11)
    assert active["kid"] == json.loads(data(memory.token.partition(".")[0]))["kid"]
    memory.target.attack("a key that left the ring", memory.token, SOURCE)
    assert memory.size() == 0


def service_ring(service: Service) -> list[dict[str, Any]]:
    """Return the service's private keys."""
    with service.app.app_context():
        ring = service.module("state").state().secrets.get("JWT_KEYS").reveal()
    found: list[dict[str, Any]] = json.loads(ring)["keys"]
    return found


@protects(SAFE, bound=edit(MEMORY, "            if len(self._found) >= self._most:", "            if self._most < 0:"))
def test_what_is_remembered_has_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(service, monkeypatch)
    most = 32  # a low bound, met soon; everything else is unchanged
    with service.app.app_context():
        verified = service.module("jwt.keys").ring().verified
    assert verified._most == service.module("crypto.signing").MOST == 4096
    monkeypatch.setattr(verified, "_most", most)
    verify, key, claims = service.module("jwt.tokens").verify_access_token, memory.target.keys[1], memory.target.claims
    with service.app.app_context():
        for number in range(most + 50):
            verify(key.token({**claims, "jti": f"{number}"}))
    harm(memory.size() > most, "each new token grows the cache without a bound")
    assert memory.size() == most
    before = len(memory.verified)
    works(memory.target.owner.get("/probe").status == 200, "a token that left the cache is verified again")
    assert len(memory.verified) == before + 1
    memory.target.seen.clear()
    for number in range(most + 1):
        memory.target.attack("no signature", f"{key.token({**claims, 'jti': f'x{number}'})[:-86]}", SIGNATURE)
    assert memory.size() == most


@protects(SAFE, copy=edit(KEYS, "(frozen=True, slots=True)\nclass Claims:", "(slots=True)\nclass Claims:"))
def test_no_request_changes_what_the_next_one_sees(service: Service) -> None:
    [key] = ring_of(service, [service.module("jwt.keys").generate()])
    victim: list[Any] = []

    def careless() -> dict[str, str]:
        """A view of the team that writes into the claims that it received."""
        from flask import request

        token = request.headers["Authorization"].partition(" ")[2]
        claims = service.module("jwt.tokens").verify_access_token(token)
        claims.user_id, claims.session_id = victim
        return {"changed": "yes"}

    service.adds_route("/careless", view=careless)
    owner, other = service.client(service.user()).login(), service.client(service.user()).login()
    assert owner.user is not None
    works(owner.get("/auth/me").json["email"] == owner.user.email, "a token names its user")
    works(key.kid in service.client().get("/.well-known/jwks.json").text, "the JWKS contains the ring's key")
    theirs = claims_of(other.token)
    victim += [UUID(theirs["sub"]), UUID(theirs["sid"])]
    tried = owner.get("/careless")
    after = owner.get("/auth/me").json
    harm(after["email"] != owner.user.email, "one request changed the user of the next one")
    assert tried.status == 500


# --- jwt-key-rotation-jwks ----------------------------------------------------------------------------------------

SPREAD = 600  # seconds until all processes have what a command wrote: see crypto/ring.py
RETIRED = "    if not ring.keys[claims.key_id].verifies_at(moment, state().limits.access_token_seconds + LEEWAY):\n"


@protects(ROTATION, retired=edit(TOKENS, RETIRED, "    if False:\n"))
def test_a_retired_key_signs_no_valid_token_after_its_last_one(service: Service) -> None:
    target = Target(service, three_keys(service))
    last = service.limits.access_token_seconds + 30 + SPREAD
    claims = target.claims

    def now(key: Key) -> str:
        """Return a token that a thief of this key signs now, for a live login."""
        moment = int(service.now().timestamp())
        return key.token({**claims, "iat": moment, "nbf": moment, "exp": moment + 600})

    for seconds in (0, last - 10):
        service.travel(seconds=seconds)
        works(target.show(now(target.keys[2])).status == 200, "a retired key's token is accepted while it may be live")
    service.travel(seconds=11)
    target.seen.clear()
    target.attack("a key that was retired", now(target.keys[2]), ROTATION)
    target.attack("a key that was retired, once more", now(target.keys[2]), ROTATION)
    assert [target.show(now(key)).status for key in target.keys[:2]] == [200, 200]


_LOADS = """    private = _private(algorithm, jwk["d"])
"""
_OTHER = """    private = _private(algorithm, jwk["d"])
    if jwk["crv"] == "secp256k1":
        private = ec.derive_private_key(int.from_bytes(urlsafe_b64decode(jwk["d"] + "=")), ec.SECP256K1())
"""


@protects(
    ROTATION,
    curve=(
        edit(KEYS, "    if algorithm is None:\n", "    algorithm = algorithm or 'ES256'\n    if False:\n"),
        edit(KEYS, _LOADS, _OTHER),
    ),
)
def test_no_key_of_another_kind_signs_tokens(service: Service) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    generate, thumbprint = service.module("jwt.keys").generate, service.module("jwt.keys").thumbprint
    for algorithm in ("EdDSA", "ES256"):
        ring = json.dumps({"keys": [generate(algorithm)]})
        works(service.start(JWT_KEYS=ring).app is not None, f"the service starts with a key for {algorithm}")

    def curved(name: str, curve: ec.EllipticCurve) -> dict[str, Any]:
        numbers = ec.generate_private_key(curve).private_numbers()
        size = (curve.key_size + 7) // 8
        x, y = (text(number.to_bytes(size)) for number in (numbers.public_numbers.x, numbers.public_numbers.y))
        parts = {"kty": "EC", "crv": "P-256" if size == 32 else name, "x": x, "y": y}
        named = {
            **generate("ES256"),
            **parts,
            "kid": thumbprint(parts),
            "d": text(numbers.private_value.to_bytes(size)),
        }
        return {**named, "crv": name}

    wrong = [curved("secp256k1", ec.SECP256K1()), curved("P-192", ec.SECP192R1()), curved("P-384", ec.SECP384R1())]
    for jwk in wrong:
        tried = service.start(JWT_KEYS=json.dumps({"keys": [jwk]}))
        harm(tried.app is not None, f"the service started with a key of the curve {jwk['crv']}")
        assert tried.reasons == [
            "JWT_KEYS: key 1 is neither OKP with Ed25519 nor EC with P-256. "
            "Put back the ring that was used, or make one with `keys new jwt`."
        ]
        assert jwk["d"] not in tried.text
    small = rsa.generate_private_key(65537, 1024).private_numbers()  # noqa: S505  (it has to be refused)
    number = text(small.d.to_bytes(128))
    tried = service.start(JWT_KEYS=json.dumps({"keys": [{**generate(), "kty": "RSA", "n": number, "d": number}]}))
    assert [reason.partition(". ")[0] for reason in tried.reasons] == [
        "JWT_KEYS: key 1 is neither OKP with Ed25519 nor EC with P-256"
    ]


PUT_BACK = "Put back the ring that was used, or make one with `keys new jwt`."
NOT_PRIVATE = "is no private JWK with kty, crv, d and kid"
NO_STATE = "needs a status (active, next or retired) and since in seconds"
KEYS_OF_STANDARDS = {
    "RFC 8037, A": ("EdDSA", "nWGxne_9WmC6hEr0kuwsx ERJxWl7MmkZcDusAxyuf2A"),
    "RFC 8032, 7.1, test 2": ("EdDSA", "TM0Imyj_ltqdtsNG7BFOD 1uKMZ81q6Yk2oz27U-4pvs"),
    "RFC 8032, 7.1, test 3": ("EdDSA", "xaqN9D-fg3vtt0QvMdy3s WbThTUHbwlLhc46LgtEWPc"),
    "RFC 7517, A": ("ES256", "870MB6gfuTJ4HtUnUvYMy Jpr5eUZNP4Bk43bVdj3eAE"),
    "RFC 7515, A.3": ("ES256", "jpsQnnGQmL-YBIffH1136 cspYG6-0iY7X1fCE9-E9LI"),
    "RFC 6979, A.2.5": ("ES256", "ya-p2EW6dRZrXCFXZ7HWk 05Qw9s26JsSe4piKxIPZyE"),
}
"""The private keys that are published there, with their algorithm; in two halves, or scanners for keys in a
repository would find them."""


def jwk_of(service: Service, algorithm: str, d: str) -> dict[str, Any]:
    """Return a valid private JWK with these private bytes."""
    keys, d = service.module("jwt.keys"), d.replace(" ", "")
    parts = keys._public_parts(keys._private(algorithm, d))
    return {**keys.generate(algorithm), **parts, "kid": keys.thumbprint(parts), "d": d}


def shown(value: Any) -> str:
    return "left out" if value is LEFT_OUT else repr(value)


class Guard:
    """Check a ring with the start guard only: a whole start takes a hundred times as long."""

    def __init__(self, service: Service) -> None:
        self._state = service.module("state").state_of(service.app)
        self._check, self._secret = service.module("jwt").check, service.module("secrets").Secret

    def reasons(self, ring: str) -> list[str]:
        """Return why a service with this ring would not start; empty if it would."""
        secrets = SimpleNamespace(find=lambda _name: self._secret(ring))
        return [*self._check(self._state.settings, self._state.style, secrets)]


def no_keys(service: Service) -> Iterator[tuple[str, Content, str]]:
    """Yield each invalid JWK with its description and the expected fault."""
    generate = service.module("jwt.keys").generate
    good, curved = generate(), generate("ES256")
    for name in ("kty", "crv", "d", "kid"):
        for value in (LEFT_OUT, None, 1, [good[name]]):
            yield f"the {name} {shown(value)}", changed(good, **{name: value}), NOT_PRIVATE
    for jwk, other in ((good, "ES256"), (curved, "EdDSA")):
        for value in (LEFT_OUT, None, other, "none"):
            fault = f"has not the alg of its kind, {jwk['alg']}"
            yield f"the alg {shown(value)}", changed(jwk, alg=value), fault
    yield "the curve of the other kind", {**good, "crv": "P-256"}, "is neither OKP with Ed25519 nor EC with P-256"
    for value in (LEFT_OUT, None, "", "revoked", "Active", 1):
        yield f"the status {shown(value)}", changed(good, status=value), NO_STATE
    for value in (LEFT_OUT, None, True, "1767225600", 1767225600.0, 1767225600000, 0, -1):
        yield f"since {shown(value)}", changed(good, since=value), NO_STATE
    yield "a d that repeats itself", jwk_of(service, "EdDSA", "A" * 43), "repeats itself"
    for jwk, d in ((good, good["d"] + good["d"][:9][::-1]), (curved, text(b"\xff" * 8 + data(curved["d"])[8:]))):
        yield "a d that is no private key", {**jwk, "d": d}, "has a d that is no private key of its kind"
    for jwk, name in ((good, "x"), (curved, "x"), (curved, "y")):
        for value in (LEFT_OUT, generate(jwk["alg"])["x"]):
            fault = "has a public part that does not belong to its private part"
            yield f"the {name} of another key", changed(jwk, **{name: value}), fault
    for standard, (algorithm, d) in KEYS_OF_STANDARDS.items():
        yield f"the key of {standard}", jwk_of(service, algorithm, d), "is printed in a standard, with its private part"
    for value in ("", "1", good["kid"][:-1], generate()["kid"]):
        yield f"the kid {value!r}", {**good, "kid": value}, "has a kid that is not its thumbprint (RFC 7638)"


@protects(
    ROTATION,
    algorithm=edit(KEYS, '    if jwk.get("alg") != algorithm:\n', "    if False:\n"),
    since=edit(KEYS, "type(since) is not int or since not in SINCE:", "type(since) is not int:"),
    guessed=edit(KEYS, '    if fault := weakness(jwk["d"]):\n', "    if fault := False:\n"),
    parts=edit(KEYS, '    if any(jwk.get(name) != parts.get(name) for name in ("x", "y")):\n', "    if False:\n"),
    printed=edit(KEYS, '    if parts["x"] in PUBLISHED:\n', "    if False:\n"),
    named=edit(KEYS, '    if jwk["kid"] != thumbprint(parts):\n', "    if False:\n"),
)
def test_no_start_accepts_an_invalid_or_published_key(service: Service) -> None:
    for algorithm in ("EdDSA", "ES256"):
        ring = json.dumps({"keys": [service.module("jwt.keys").generate(algorithm)]})
        works(service.start(JWT_KEYS=ring).app is not None, f"the service starts with a key for {algorithm}")
    guard, reported = Guard(service), set[str]()
    for what, jwk, fault in no_keys(service):
        ring = json.dumps({"keys": [jwk]})
        reasons = guard.reasons(ring)
        harm(not reasons, f"the service accepted a key with {what}")
        assert reasons == [f"JWT_KEYS: key 1 {fault}. {PUT_BACK}"], what
        if fault not in reported:  # a whole start, once for each
            tried = service.start(JWT_KEYS=ring)
            assert (tried.app, tried.reasons) == (None, reasons)
            assert str(jwk.get("d", "no d")) not in tried.text
        reported.add(fault)
    assert len(reported) == 10


@protects(
    ROTATION,
    one=edit(KEYS, "    if not faults and len(active) != 1:\n", "    if not faults and not active:\n"),
    twice=edit(KEYS, "        if key.kid in keys:\n", "        if False:\n"),
    most=edit(KEYS, "1 <= len(listed) <= 10:", "1 <= len(listed):"),
)
def test_no_start_accepts_a_ring_without_one_clear_active_key(service: Service) -> None:
    generate = service.module("jwt.keys").generate
    one, other, *more = [generate(status="active"), *(generate(status="next") for _ in range(10))]
    for keys in ([one], [one, other], [other, one], [*more, one]):
        works(service.start(JWT_KEYS=json.dumps({"keys": keys})).app is not None, f"a ring of {len(keys)} starts")
    second, broken = {**other, "status": "active"}, {**other, "kid": "x"}
    named = "has a kid that is not its thumbprint (RFC 7638)"
    rings: dict[str, tuple[Any, list[str]]] = {
        "two active keys": ([one, second], ["has 2 active keys; one key signs"]),
        "no active key": ([other, more[0]], ["has no active key; one key signs"]),
        "one key twice": ([{**one, "status": "next"}, one], ["key 2 is there twice"]),
        "eleven keys": ([one, other, *more], ["is no JWK Set with 1 to 10 keys"]),
        "no key": ([], ["is no JWK Set with 1 to 10 keys"]),
        "no list": (one, ["is no JWK Set with 1 to 10 keys"]),
        "two values that are not keys": ([None, "x"], [f"key {number} {NOT_PRIVATE}" for number in (1, 2)]),
        "faults in two of three keys": ([broken, other, broken], [f"key {number} {named}" for number in (1, 3)]),
    }
    for what, (keys, faults) in rings.items():
        tried = service.start(JWT_KEYS=json.dumps({"keys": keys}))
        harm(tried.app is not None, f"the service started with a ring with {what}")
        assert tried.reasons == [f"JWT_KEYS: {fault}. {PUT_BACK}" for fault in faults], what
    whole = json.dumps({"keys": [one]})
    for ring in ("x" * 43, whole[:-1], f"[{whole}]", f'{{"keys": [], {whole[1:]}'):
        tried = service.start(JWT_KEYS=ring)
        harm(tried.app is not None, "the service started with an invalid ring")
        assert tried.reasons == [f"JWT_KEYS: is no JWK Set in JSON. {PUT_BACK}"]
        assert one["d"] not in tried.text


@protects(ROTATION, reread=edit(KEYS, "        self._secrets.refresh(SECRET)\n", ""))
def test_an_unknown_key_makes_the_process_reread_the_ring_once(service: Service) -> None:
    seen = service.adds_route("/probe")
    with stubbed(service) as stub:
        one, keys = service.app, service.module("jwt.keys")
        client = service.client(service.user()).login()
        works(client.get("/probe").status == 200, "a token reaches the view")
        service.travel(seconds=11)
        stub.values["JWT_KEYS"] = keys.new_ring()  # exchanged by hand, in a hurry
        service.app = service._make()
        client.login()
        works(client.get("/probe").status == 200, "the other process signs with the new key")
        service.app = one
        seen.clear()
        client.get("/probe")
        harm(not seen, "for five minutes, one process refused tokens that another signed")
        questions, mine = len(stub.asked), Key.new("EdDSA", "x")
        assert client.token is not None
        for _ in range(20):
            thief = client.copy()
            thief.token = mine.token(claims_of(client.token))
            refused(thief.get("/probe"), 401, SOURCE)
        assert stub.asked[questions:] == []


@protects(
    ROTATION,
    kept=edit(
        KEYS,
        "            except InvalidKeys as error:\n                _log.error(",
        "            except KeyError as error:\n                _log.error(",
    ),
)
def test_a_running_process_keeps_its_ring_when_a_new_one_is_bad(service: Service) -> None:
    with stubbed(service) as stub:
        client = service.client(service.user()).login()
        works(client.get("/auth/me").status == 200, "the ring verifies a token")
        ring = stub.values["JWT_KEYS"]
        stub.values["JWT_KEYS"] = json.dumps({"keys": [{**private_key(), "kid": "x"}] * 2})
        service.travel(seconds=361)
        first, again = client.get("/auth/me"), client.get("/auth/me")
        harm(first.status != 200, "an invalid new ring signed every user out")
        assert again.status == 200
        faults = [event for event in service.log if event["event"] == "key_ring_not_changed"]
        named = "; ".join(f"key {number} has a kid that is not its thumbprint (RFC 7638)" for number in (1, 2))
        assert [(event["name"], event["fault"]) for event in faults] == [("JWT_KEYS", named)]
        stub.values["JWT_KEYS"] = ring
        service.travel(seconds=361)
        assert client.login().get("/auth/me").status == 200


@protects(ROTATION, age=edit("crypto/ring.py", "    if moment < known_at:\n", "    if False:\n"))
def test_key_rotation_by_command_signs_no_user_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/probe")
    with stubbed(service) as stub:
        one = service.app
        client = service.client(service.user()).login()
        thief = client.copy()
        thief.token = Key.new("EdDSA", "a" * 43).token(claims_of(client.token))
        refused(thief.get("/probe"), 401, SOURCE)  # after which nothing is looked up for ten seconds
        code, published = rotate(service, monkeypatch, "jwt")
        works((code, states(published)) == (0, ["active", "next"]), "the first step adds a next key")
        stub.values["JWT_KEYS"] = published
        code, activated = rotate(service, monkeypatch, "jwt")
        if code == 0:  # an operator took the second step at once
            stub.values["JWT_KEYS"] = activated
            service.app = service._make()
            client.login()
            service.app = one
        works(one is service.app, "the process that began still runs")
        client.get("/probe")
        harm(not seen, "a process, or a verifier with cached public keys, refused tokens of another process")
        assert (code, activated.partition(" in ")[0]) == (
            1,
            "Error: Not every process knows the next key yet. Run this again",
        )
        former = json.loads(published)["keys"][0]["kid"]
        service.travel(seconds=300)
        before = client.copy()
        service.travel(seconds=355)
        assert rotate(service, monkeypatch, "jwt")[0] == 1  # others may keep the public keys for five minutes more
        service.travel(seconds=6)
        assert client.post("/auth/refresh", {"refresh_token": client.refresh_token}).status == 200
        client.login()
        code, activated = rotate(service, monkeypatch, "jwt")
        assert (code, states(activated)) == (0, ["retired", "active"])
        stub.values["JWT_KEYS"] = activated
        service.travel(seconds=301)
        assert client.get("/probe").status == 200  # by the key that is retired now
        assert kid_of(client.token) == former
        client.login()
        assert kid_of(client.token) == json.loads(activated)["keys"][1]["kid"] != former
        assert client.get("/probe").status == 200
        assert before.get("/probe").status == 401  # it has ended
        assert {jwk["kid"] for jwk in client.get(JWKS).json["keys"]} == {
            jwk["kid"] for jwk in json.loads(activated)["keys"]
        }


def states(ring: str) -> list[str]:
    return [jwk["status"] for jwk in json.loads(ring)["keys"]]


def kid_of(token: str | None) -> str:
    return str(json.loads(data((token or "").partition(".")[0]))["kid"])


@protects(SOURCE, jwk=takes('"jwk" in header', 'jwt.PyJWK(header["jwk"]).key'))
def test_a_token_brings_its_key_in_no_member(service: Service) -> None:
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


class Memory:
    """A login whose token was verified once, with the list of tokens that the library verified since."""

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
        """Return the owner's token."""
        return str(self.target.owner.token)

    def hit(self) -> None:
        """Check that the owner's token is accepted and not verified again."""
        self.verified.clear()
        works(self.target.owner.get("/probe").status == 200, "a token with a cached result reaches the view")
        works(self.verified == [], "the service verified no signature for it")
        self.target.seen.clear()

    def size(self) -> int:
        """Return the number of cached results."""
        with self.service.app.app_context():
            return len(self.service.module("jwt.keys").ring().verified)


@protects(
    SAFE,
    **sabotages(core.test_a_token_that_was_verified_ends_with_its_login, SAFE, "row"),
)
def test_a_token_that_is_not_verified_again_ends_with_its_login(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(service, monkeypatch)
    token = memory.token
    assert memory.target.owner.copy().post("/auth/logout").status == 204
    memory.target.attack("a login that has ended, seen before", token, "jwt-sid-checked")
