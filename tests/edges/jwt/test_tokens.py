"""Edges of the proofs in test_tokens.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ...harness import edit, harm, protects, refused, works
from ...jwt.forging import (
    LEFT_OUT,
    Content,
    Key,
    Target,
    changed,
    claims_of,
    data,
    forged,
    ring_of,
    text,
    three_keys,
    written,
)
from ...jwt.test_tokens import (
    ALGORITHM,
    CLAIMED,
    CLAIMS,
    END,
    FILE,
    MALFORMED,
    MEANT,
    MINIMAL,
    NONE,
    PERMISSION,
    PURPOSE,
    ROLE,
    SHORT,
    SIGNATURE,
    TYPES,
    VERIFY,
    administrator,
)

if TYPE_CHECKING:
    import pytest

    from ...running import Service


# --- the signature -----------------------------------------------------------------------------------------------


@protects(
    SIGNATURE,
    jwe=edit(FILE, "    if len(parts) > 3:", "    parts, token = parts[:3], '.'.join(parts[:3])\n    if False:"),
)
def test_a_token_of_more_than_three_parts_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        good = key.token(target.claims)
        encrypted = [text(written({**key.header, "alg": alg, "enc": "A256GCM"})) for alg in ("dir", "ECDH-ES", "none")]
        for what, token in (
            ("five parts", f"{good}.{text(bytes(12))}.{text(bytes(16))}"),
            ("four parts", f"{good}.{text(bytes(12))}"),
            ("a dot at its end", f"{good}."),
            ("a dot before it", f".{good}"),
            ("three empty parts behind it", f"{good}..."),
            ("itself behind it", f"{good}.{good}"),
            *(("an encrypted form", f"{header}..{good.partition('.')[2]}.{text(bytes(16))}") for header in encrypted),
        ):
            target.attack(what, token, SIGNATURE)


@protects(
    SIGNATURE,
    canonical=edit(FILE, '    if urlsafe_b64encode(data).rstrip(b"=") != part.encode():', "    if False:"),
)
def test_a_token_that_is_spelt_in_a_second_way_opens_nothing(service: Service) -> None:
    """Otherwise one token has several spellings, and a cache, counter or block list keyed by its text misses some."""
    target = Target(service, three_keys(service))
    target.honest()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for key in target.keys:
        header, payload, signature = key.token(target.claims).split(".")
        standard = b64encode(data(signature)).decode().rstrip("=")
        stray = signature[:-1] + letters[letters.index(signature[-1]) | 1]  # the last 4 bits belong to no byte
        spellings = [f"{signature}==", f"{signature}=", stray, f" {signature}==", f"{signature[:9]}\t{signature[9:]}=="]
        spellings += [standard] if standard != signature else []
        for spelling in spellings:
            target.attack("its signature spelt in a second way", f"{header}.{payload}.{spelling}", SIGNATURE)
        head, body = (text(written(uneven(one))) for one in (key.header, target.claims))
        works(target.show(f"{head}.{body}.{text(key.sign(f'{head}.{body}'.encode()))}").status == 200, "not padded")
        target.seen.clear()
        for padded in (f"{head}{'=' * (-len(head) % 4)}.{body}", f"{head}.{body}{'=' * (-len(body) % 4)}"):
            token = f"{padded}.{text(key.sign(padded.encode()))}"  # signed as it is spelt
            target.attack("padding", token, SIGNATURE)


def uneven(content: Content) -> dict[str, Any]:
    """The same claims and an unknown one, long enough that their base64 would end in padding."""
    longer = ({**content, "x": "x" * number} for number in range(2))
    return next(one for one in longer if len(written(one)) % 3)


@protects(SIGNATURE, twice=edit(FILE, "    strict_json.loads(data[1])", "    pass"))
def test_a_claim_that_is_there_twice_opens_nothing(service: Service) -> None:
    """Correctly signed: two parsers of a duplicate claim could see different users."""
    target = Target(service, three_keys(service))
    target.honest()
    mine = claims_of(target.mallory.token)
    for key in target.keys:
        theirs = written(target.claims)
        for name in ("sub", "sid", "exp", "client_id"):
            both = b'{"' + f'{name}":{json.dumps(mine[name])},'.encode() + theirs[1:]
            target.attack(f"{name} twice", forged(key.header, both, key.sign), MALFORMED)
        for name, other in (("alg", "none"), ("kid", "x"), ("typ", "x")):
            both = b'{"' + f'{name}":"{other}",'.encode() + written(key.header)[1:]
            target.attack(f"{name} twice", forged(both, theirs, key.sign), MALFORMED)


# --- the algorithm -----------------------------------------------------------------------------------------------


@protects(ALGORITHM, list=edit(FILE, "algorithms=[key.algorithm],", 'algorithms=["EdDSA", "ES256", "HS256"],'))
def test_the_library_gets_only_the_algorithm_of_the_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library also compares the key type, which would hide too long a list from the forgeries above."""
    target = Target(service, three_keys(service))
    library = service.module("jwt.tokens").jwt
    real, given = library.decode, []

    def spy(token: str, *arguments: Any, **options: Any) -> Any:
        given.append(options.get("algorithms"))
        return real(token, *arguments, **options)

    monkeypatch.setattr(library, "decode", spy)
    target.honest()
    works(len(given) == 5, "the library sees two tokens of the service and one for each key")
    given.clear()
    for key in target.keys:
        for name in ("none", "HS256", "ES256", "EdDSA", ["EdDSA", "ES256"]):
            target.show(key.token({**target.claims, "jti": f"once {name}"}, alg=name))
            harm([one for one in given if one != [key.algorithm]], "a token had a choice of algorithms")
            assert len(given) == 1
            given.clear()


EXTENSIONS: tuple[dict[str, Any], ...] = (
    {"crit": ["b64"], "b64": True},  # PyJWT understands this one
    {"crit": ["b64"], "b64": False},
    {"crit": ["exp"], "exp": 0},
    {"crit": ["alg", "kid", "typ"]},
    {"crit": ["x"], "x": 1},
    {"crit": ["x"]},
    {"crit": []},
    {"crit": "b64"},
    {"crit": {}},
    {"crit": False},
    {"crit": None},
)


@protects(ALGORITHM, crit=edit(FILE, '    if "crit" in header:', "    if False:"))
def test_a_token_that_asks_for_an_extension_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        for more in EXTENSIONS:
            target.attack(f"the header members {more}", key.token(target.claims, **more), ALGORITHM)


@protects(SIGNATURE, verify=VERIFY)
@protects(ALGORITHM, none=NONE)
def test_a_ring_of_es256_alone_refuses_the_same_forgeries(service: Service) -> None:
    target = Target(service, ring_of(service, [service.module("jwt.keys").generate("ES256")]))
    target.honest()
    [key] = target.keys
    client = service.client(target.owner.user).login(through_form=True)
    works(client.get("/probe").status == 200, "the token of a login reaches the view")
    signed = json.loads(data(str(client.token).split(".")[0]))
    works(signed == {"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, "the token is signed by ES256")
    target.seen.clear()
    for what, token in badly_signed(key, target):
        target.attack(what, token, SIGNATURE)
    for what, token in badly_named(key, target):
        target.attack(what, token, ALGORITHM)


# --- the claims --------------------------------------------------------------------------------------------------


@protects(
    CLAIMS,
    life=edit(
        FILE,
        '    if not 0 < payload["exp"] - payload["iat"] <= state().limits.access_token_seconds:',
        "    if False:",
    ),
)
def test_a_token_with_too_long_a_lifetime_is_refused(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    signing, claims = target.keys[1], target.claims
    longest, iat = service.limits.access_token_seconds, claims["iat"]
    for life in (1, longest):
        works(target.show(signing.token({**claims, "exp": iat + life})).status == 200, f"{life} s are accepted")
    works(
        target.show(signing.token({**claims, "iat": iat - longest + 60, "exp": iat + 60})).status == 200,
        "its end too",
    )
    target.seen.clear()
    for what, times in {
        "an end in ten years": {"exp": iat + 10 * 365 * 86_400},
        "one second too many": {"exp": iat + longest + 1},
        "a life that began earlier": {"iat": iat - 20, "exp": iat + longest - 19},
        "no beginning": {"iat": 0},
        "a beginning before all times": {"iat": -1},
        "no life at all": {"iat": iat + 1, "exp": iat + 1},
        "an end before its beginning": {"iat": iat + 20, "exp": iat - 10},
    }.items():
        target.attack(what, signing.token({**claims, **times}), CLAIMS)


@protects(CLAIMS, client=edit(FILE, '    if payload["client_id"] != CLIENT:', "    if False:"))
def test_a_token_for_another_client_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for other in ("another", "first-party ", "First-Party", "first", "*", "x" * 255):
        target.attack(f"the client {other!r}", target.keys[1].token({**target.claims, "client_id": other}), CLAIMS)


AHEAD = "    if claims.issued_at - LEEWAY > moment or claims.not_before - LEEWAY > moment:"


@protects(CLAIMS, future=edit(FILE, AHEAD, "    if claims.not_before - LEEWAY > moment:"))
def test_a_token_that_will_be_issued_later_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    signing, claims = target.keys[1], target.claims
    moment, life = claims["iat"], service.limits.access_token_seconds
    works(target.show(signing.token({**claims, "iat": moment + 20})).status == 200, "a clock may be 20 s ahead")
    target.seen.clear()
    for ahead in (45, 3600, 10 * 365 * 86_400):
        later = {"iat": moment + ahead, "exp": moment + ahead + life}
        target.attack(f"iat {ahead} s ahead", signing.token({**claims, **later}), CLAIMS)


@protects(CLAIMS, future=edit(FILE, AHEAD, "    if claims.issued_at - LEEWAY > moment:"))
def test_a_token_that_is_not_good_yet_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    signing, claims = target.keys[1], target.claims
    works(target.show(signing.token({**claims, "nbf": claims["nbf"] + 20})).status == 200, "a clock may be 20 s ahead")
    early = signing.token({**claims, "nbf": claims["nbf"] + 50, "jti": "early"})
    target.seen.clear()
    for ahead in (45, 3600, 10 * 365 * 86_400):
        target.attack(f"nbf {ahead} s ahead", signing.token({**claims, "nbf": claims["nbf"] + ahead}), CLAIMS)
    target.attack("nbf 50 s ahead", early, CLAIMS)
    service.travel(seconds=50)
    assert target.show(early).status == 200


# --- for whom, and by whom ----------------------------------------------------------------------------------------


@protects(
    MEANT,
    list=(
        edit(FILE, 'False), "strict_aud": True}', "False)}"),
        edit(FILE, '    "aud": str,\n', ""),
    ),
)
def test_a_token_for_several_services_opens_none(service: Service) -> None:
    """Otherwise another of those services could replay a token that it received."""
    target = Target(service, three_keys(service))
    target.honest()
    claims, signing = target.claims, target.keys[1]
    ours, other = claims["aud"], "https://other.example"
    for value in ([ours, other], [other, ours], [ours, ours], [ours], [ours, 1]):
        target.attack(f"the audience {value}", signing.token({**claims, "aud": value}), MEANT)


@protects(MEANT, aud=edit("jwt/settings.py", "    return settings().audience or issuer()", "    return issuer()"))
def test_an_audience_that_was_set_is_the_only_one(service: Service) -> None:
    service.setting("BASTION_JWT_AUDIENCE", "https://app.example/orders")
    target = Target(service, three_keys(service))
    target.honest()
    claims = target.claims
    origin = target.keys[1].token({**claims, "aud": claims["iss"], "jti": "for the origin"})
    target.attack("the origin as its audience, which several services share", origin, MEANT)
    assert claims["aud"] == "https://app.example/orders"
    assert claims["iss"] == "https://app.example"


# --- for what -----------------------------------------------------------------------------------------------------


@protects(
    PURPOSE,
    refresh=edit(
        "jwt/refresh.py",
        "    moment = now()\n    alive_since = moment",
        '    if token.count(".") == 2:\n'
        "        from .tokens import verify_access_token\n\n"
        "        said = verify_access_token(token)\n"
        '        return _pair(said.user_id, said.session_id, "", now() + timedelta(hours=1))\n'
        "    moment = now()\n    alive_since = moment",
    ),
)
def test_an_access_token_is_no_refresh_token(service: Service) -> None:
    """It is sent with every request to every service that verifies it, so it must not renew itself."""
    target = Target(service, three_keys(service))
    target.honest()
    stranger = service.client()
    for token in (target.owner.token, target.keys[1].token(target.claims, typ="refresh+jwt")):
        answer = stranger.post("/auth/refresh", {"refresh_token": token})
        harm(answer.ok, "an access token was exchanged for a new one")
        refused(answer, 401, "refresh-one-use")
    target.attack("nothing: it is the refresh token", str(target.owner.refresh_token), MALFORMED)
    assert stranger.post("/auth/refresh", {"refresh_token": target.owner.refresh_token}).status == 200


# --- the claims ---------------------------------------------------------------------------------------------------

EMAIL = (
    edit(
        FILE,
        "    moment = int(clock.seconds())\n    claims = {\n",
        "    from sqlalchemy import select\n\n"
        "    from ..database import connect\n"
        "    from ..identity.models import User\n\n"
        "    with connect() as connection:\n"
        "        email = connection.scalars(select(User.email).where(User.id == user_id)).one()\n"
        '    moment = int(clock.seconds())\n    claims = {\n        "email": email,\n',
    ),
)


@protects(MINIMAL, extra=EMAIL)
def test_a_token_tells_whoever_finds_it_nothing_about_its_user(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = administrator(service, monkeypatch).login(through_form=True)
    assert client.user is not None
    works(client.get("/auth/me").json["email"] == client.user.email, "it authenticates an administrator")
    exchanged = service.client().post("/auth/refresh", {"refresh_token": client.refresh_token})
    works(exchanged.status == 200, "it is exchanged for another")
    for token in (str(client.token), str(exchanged.json["access_token"])):
        header, claims, _ = token.split(".")
        harm(set(claims_of(token)) - {*TEXTS, *TIMES}, "a token contains unnecessary claims")
        for known in (client.user.email, ROLE, PERMISSION, "example.com"):
            harm(known in (data(header) + data(claims)).decode(), f"a token reveals {known}")
        assert sorted(claims_of(token)) == sorted((*TEXTS, *TIMES))
        assert sorted(json.loads(data(header))) == ["alg", "kid", "typ"]
        for name in ("sub", "sid", "jti"):
            assert UUID(claims_of(token)[name]).version == 4  # random: no number that can be counted


Forgeries = Iterator[tuple[str, str]]


def badly_signed(key: Key, target: Target) -> Forgeries:
    """Yield forgeries that an attacker without the key makes from the owner's token and their own."""
    theirs, mine = target.claims, claims_of(target.mallory.token)
    header, payload, signature = key.token(theirs).split(".")
    own_signature = key.token(mine).split(".")[2]
    stolen = written(changed(mine, sub=theirs["sub"], sid=theirs["sid"]))
    yield "the owner's names under a signature of one's own token", f"{header}.{text(stolen)}.{own_signature}"
    yield "the signature of another token", f"{header}.{payload}.{own_signature}"
    for name, value in (("jti", "another"), ("exp", theirs["exp"] - 1), ("nbf", 0), ("roles", "admin")):
        yield f"another {name}", f"{header}.{text(written(changed(theirs, **{name: value})))}.{signature}"
    yield "another header", f"{text(written({**key.header, 'x': 1}))}.{payload}.{signature}"
    yield "a signature by a key of the attacker's", Key.new(key.algorithm, key.kid).token(theirs)
    yield "no signature", f"{header}.{payload}."
    yield "a signature of zeros", f"{header}.{payload}.{text(bytes(64))}"
    yield "a signature of ones", f"{header}.{payload}.{text(bytes([*bytes(31), 1]) * 2)}"
    yield "half a signature", f"{header}.{payload}.{text(data(signature)[:32])}"
    yield "a signature and one byte more", f"{header}.{payload}.{text(data(signature) + bytes(1))}"
    yield "one changed bit", f"{header}.{payload}.{text(bytes([data(signature)[0] ^ 1]) + data(signature)[1:])}"
    yield "a signature of the claims alone", f"{header}.{payload}.{text(key.sign(payload.encode()))}"
    if key.algorithm == "ES256":
        yield "a signature in DER", f"{header}.{payload}.{text(key.der(f'{header}.{payload}'.encode()))}"


@protects(SIGNATURE, verify=VERIFY)
def test_no_forgery_of_a_signature_opens_anything(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    forgeries = [one for key in target.keys for one in badly_signed(key, target)]
    for first, key in zip(target.keys[1:] + target.keys[:1], target.keys, strict=True):
        forgeries.append(("a signature by another key of the ring", first.token(target.claims, **key.header)))
    assert len(forgeries) >= 45
    for what, token in forgeries:
        target.attack(what, token, SIGNATURE)


NOT_THE_KEYS: tuple[Any, ...] = (
    *("none", "None", "NONE", "nOnE", "", " ", LEFT_OUT, None, 0, 1, True, [], {}),
    *("HS256", "HS384", "HS512", "RS256", "PS256", "ES256K", "ES384", "ES512", "Ed25519", "Ed448"),
    *("eddsa", "EDDSA", "EdDSA ", "es256", "ES256\t", ["EdDSA"], ["ES256"], {"EdDSA": 1}, "EdDSA,ES256"),
)


def badly_named(key: Key, target: Target) -> Forgeries:
    """Yield tokens whose header names another algorithm than the key's; the first ones have the right signature."""
    theirs = target.claims
    for name in (*NOT_THE_KEYS, "ES256" if key.algorithm == "EdDSA" else "EdDSA"):
        shown = "no alg" if name is LEFT_OUT else f"the alg {name!r}"
        yield f"{shown} and the right signature", key.token(theirs, alg=name)
    for name in NOT_THE_KEYS[:7]:
        yield "no signature, as its alg says", forged(changed(key.header, alg=name), theirs, lambda _: b"")
    for secret in public_bytes(key, target):
        for name, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):

            def sign(signed: bytes, secret: bytes = secret, digest: Any = digest) -> bytes:
                return hmac.digest(secret, signed, digest)

            yield f"the public key as the secret of {name}", forged({**key.header, "alg": name}, theirs, sign)
    for other in (Key.new("ES256K", key.kid), Key.new("ES256" if key.algorithm == "EdDSA" else "EdDSA", key.kid)):
        yield f"a signature by a key of the attacker's for {other.algorithm}", other.token(theirs)
    for other in target.keys:
        if other.algorithm != key.algorithm:
            yield "a signature of the ring by the other algorithm", other.token(theirs, kid=key.kid)


def public_bytes(key: Key, target: Target) -> list[bytes]:
    """Yield every form in which the public key is published or could be stored."""
    listed = target.service.client().get("/.well-known/jwks.json").json["keys"]
    [jwk] = [one for one in listed if one["kid"] == key.kid]
    pem = key.public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [
        *(pem, pem.strip(), key.public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), data(jwk["x"])),
        *(jwk["x"].encode(), written(jwk), json.dumps(jwk).encode(), key.kid.encode(), b""),
    ]


@protects(ALGORITHM, none=NONE)
def test_no_token_chooses_how_it_is_verified_by_any_name(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    forgeries = [one for key in target.keys for one in badly_named(key, target)]
    private = rsa.generate_private_key(65537, 2048)
    for key in target.keys:
        for name, scheme in (("RS256", padding.PKCS1v15()), ("PS256", padding.PSS(padding.MGF1(SHA256()), 32))):

            def sign(signed: bytes, scheme: Any = scheme) -> bytes:
                return private.sign(signed, scheme, SHA256())

            token = forged({**key.header, "alg": name}, target.claims, sign)
            forgeries.append((f"an RSA signature for {name}", token))
    assert len(forgeries) >= 150
    for what, token in forgeries:
        target.attack(what, token, ALGORITHM)


TEXTS = ("iss", "aud", "sub", "client_id", "sid", "jti")


TIMES = ("iat", "nbf", "exp")


def incomplete(claims: Content) -> Iterator[tuple[str, Any]]:
    """Yield each claim left out, and with a value of every kind that is not allowed."""
    for name in TEXTS:
        for value in (LEFT_OUT, None, 0, 1, True, [], [claims[name]], {"x": claims[name]}, "", "x" * 256):
            yield name, value
    for name in TIMES:
        moment = claims[name]
        for value in (LEFT_OUT, None, True, str(moment), float(moment), moment + 0.5, [moment], {"x": moment}, ""):
            yield name, value


def row_of(name: str, value: Any) -> str:
    """Return the expected refusal; issuer and audience are compared first when they are present."""
    compared = (name == "iss" and value is not LEFT_OUT) or (name == "aud" and value is not LEFT_OUT and value)
    return "jwt-iss-aud-checked" if compared else CLAIMS


@protects(CLAIMS, require=edit(FILE, '    "jti": str,\n', ""))
def test_a_token_with_any_claim_missing_or_odd_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    signing, claims = target.keys[1], target.claims
    assert sorted(claims) == sorted((*TEXTS, *TIMES))
    for jti in ("x", "x" * 255):
        works(target.show(signing.token({**claims, "jti": jti})).status == 200, "1 to 255 characters are accepted")
    target.seen.clear()
    cases = list(incomplete(claims))
    assert len(cases) == 87
    for name, value in cases:
        shown = "left out" if value is LEFT_OUT else repr(value)[:20]
        target.attack(f"{name} {shown}", signing.token(changed(claims, **{name: value})), row_of(name, value))


@protects(
    SHORT,
    leeway=edit(FILE, END, "    if claims.expires_at + 3600 <= moment:"),
    exp=edit(FILE, END, "    if False:"),
    life=(
        edit(FILE, "    longest = state().limits.access_token_seconds\n", "    longest = 3600\n"),
        edit(FILE, "<= state().limits.access_token_seconds:", "<= 3600:"),
    ),
)
def test_an_access_token_expires_after_ten_and_a_half_minutes(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    life, leeway = service.limits.access_token_seconds, 30
    service.stop_time()
    issued = claims_of(target.owner.login(through_form=True).token)
    # The beginning of a token is a whole second: each step stays one away from the end that it looks at.
    service.travel(seconds=life - 2)
    works(target.owner.get("/probe").status == 200, "the token is valid until it expires")
    service.travel(seconds=leeway)
    works(target.owner.get("/probe").status == 200, "30 s of clock skew are allowed")
    target.seen.clear()
    service.travel(seconds=3)
    target.attack("an end more than half a minute ago", str(target.owner.token), SHORT)
    harm(issued["exp"] - issued["iat"] > life, "a token lives longer than ten minutes")
    late = target.keys[1].token({**issued, "jti": "never seen"})  # nothing of it is remembered
    target.attack("an end more than half a minute ago, never seen before", late, SHORT)


def elsewhere(claims: Content) -> Iterator[tuple[str, Any]]:
    """Yield issuers and audiences that resemble this service's."""
    origin = claims["iss"]
    for name in ("iss", "aud"):
        for value in (
            *(f"{origin}/", f"{origin}:443", origin.upper(), origin.replace("https", "http"), origin[:-1]),
            *("https://staging.app.example", "https://app.example.attacker.example", "https://other.example", "*"),
            *(f"{origin}.", f" {origin}", f"{origin}\n", origin.removeprefix("https://")),
        ):
            yield name, value


@protects(
    MEANT,
    iss=edit(FILE, "        issuer=issuer(),\n", ""),
    aud=edit(FILE, 'False), "strict_aud": True}', 'False), "strict_aud": True, "verify_aud": False}'),
)
def test_a_token_of_nearly_this_issuer_or_service_opens_nothing(service: Service) -> None:
    """The signing key is right: a token of another service that shares the key must not be accepted here."""
    target = Target(service, three_keys(service))
    target.honest()
    claims, signing = target.claims, target.keys[1]
    works(claims["iss"] == claims["aud"] == "https://app.example", "both are the public origin")
    cases = list(elsewhere(claims))
    assert len(cases) == 26
    for name, value in cases:
        target.attack(f"the {name} {value!r}", signing.token({**claims, name: value}), MEANT)


@protects(PURPOSE, typ=edit(FILE, TYPES, "    if False:"))
def test_a_token_of_any_other_type_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        for typ in ("AT+JWT", "application/at+jwt", "Application/At+JWT"):
            works(target.show(key.token(target.claims, typ=typ)).status == 200, f"the equal type {typ} is accepted")
        target.seen.clear()
        types: tuple[Any, ...] = (
            *("JWT", "jwt", "refresh+jwt", "logout+jwt", "id+jwt", "at+jwt ", "at", "application/jwt", "xat+jwt"),
            *("application/application/at+jwt", "", LEFT_OUT, None, 0, True, ["at+jwt"], {"at+jwt": 1}),
        )
        for typ in types:
            shown = "no type" if typ is LEFT_OUT else f"the type {typ!r}"
            target.attack(shown, key.token(target.claims, typ=typ), PURPOSE)


@protects(MINIMAL, role=CLAIMED)
def test_no_claim_of_any_name_gives_a_right(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = service.adds_route("/secret", mark=(PERMISSION,))
    target = Target(service, three_keys(service))
    admin = administrator(service, monkeypatch).login()
    works(admin.get("/secret").status == 200, "a user with the role in the database is allowed")
    target.honest()
    secret.clear()
    rights: dict[str, Any] = {
        **{"roles": [ROLE], "permissions": [PERMISSION], "scope": PERMISSION, "admin": True},
        **{"email": "admin@example.com", "groups": ["admin"], "act": {"sub": "admin"}, "verified_at": 2**40},
    }
    more = target.keys[1].token({**target.claims, **rights})
    works(target.show(more).status == 200, "unknown claims are ignored")
    thief = target.owner.copy()
    thief.token = more
    target.seen.clear()
    answer = thief.get("/secret")
    harm(secret, "a claim of the token granted a permission")
    refused(answer, 403, "role-required")
