"""Edges of the proofs in test_passkeys.py: further attacks on the same protections."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..accounts import lives
from ..authenticator import EDDSA, ES256, RS1, RS256, Authenticator, from_text, to_text
from ..databases import changed, everything
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import UNKNOWN, Outage, attempt, seen_by_client, sessions_of
from ..mails import waiting as due
from ..service import AUTH, Client
from ..test_passkeys import (
    AHEAD,
    ASK_AS_NAMED,
    FILE,
    NOTHING,
    ONCE,
    OPTIONS_PATH,
    ORIGINS,
    OURS,
    OWNERS,
    SIGNED_ORIGIN,
    VERIFICATION,
    VERIFY_LOGIN,
)
from ..wire import HOST
from .statements import Statements

if TYPE_CHECKING:
    import uuid

    import pytest

    from ..running import Service, User
    from ..wire import Response


_numbers = itertools.count(1)


def visitor(service: Service, user: User | None = None) -> Client:
    """Return a client from a network of its own."""
    number = next(_numbers)
    return service.client(user, f"198.{18 + number // 250 % 2}.{number % 250}.7")


LOGIN, SECOND, STEP_UP, REGISTER = "login", "second factor", "step-up", "registration"


USES = (LOGIN, SECOND, STEP_UP)
DONE = {
    LOGIN: Client.DONE["login_with_passkey"],
    SECOND: Client.DONE["send_passkey"],
    STEP_UP: Client.DONE["step_up_with_passkey"],
    REGISTER: Client.DONE["add_passkey"],
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One ceremony in progress: its options and how to send its response."""

    client: Client
    options: dict[str, Any]
    state: str
    send: Callable[[str, dict[str, Any]], Response]

    def gets(self, answer: dict[str, Any]) -> Response:
        return self.send(self.state, answer)


def passkeys_of(service: Service, user: User) -> list[Any]:
    """Return the rows of this account's passkeys, oldest first."""
    table = service.module("identity.models").Passkey.__table__
    with service.engine.connect() as connection:
        mine = table.select().where(table.c.user_id == user.id).order_by(table.c.created_at)
        return list(connection.execute(mine))


class Holder:
    """A signed-in user with a device; each session comes from another network."""

    def __init__(self, service: Service, device: Authenticator | None = None, user: User | None = None) -> None:
        self.service = service
        self.user = user or service.user()
        self.device = device or Authenticator()
        self.client = self.signed_in()

    def signed_in(self) -> Client:
        """Open one more session of the user."""
        return visitor(self.service, self.user).login()

    def asks(self, way: str, client: Client | None = None) -> Asked:
        """Begin a ceremony; `client` is the session for those that need one."""
        if way == LOGIN:
            came = client or visitor(self.service)
            return Asked(came, *came.login_passkey_options(), came.login_with_passkey)
        if way == SECOND:
            came = client or visitor(self.service)
            attempt(came, self.user.email, self.user.password)
            return Asked(came, *came.factor_passkey_options(), came.send_passkey)
        came = client or self.client
        if way == STEP_UP:
            return Asked(came, *came.step_up_options(), came.step_up_with_passkey)
        return Asked(came, *came.passkey_options(), came.add_passkey)

    def uses(self, way: str, **lies: Any) -> Response:
        """Complete the whole ceremony with the passkey."""
        asked = self.asks(way)
        return asked.gets(self.device.get(asked.options, **lies))

    def adds(self, device: Authenticator | None = None, **lies: Any) -> Response:
        """Add a passkey of this device, or of another device of the user."""
        asked = self.asks(REGISTER)
        return asked.gets((device or self.device).create(asked.options, **lies))

    def with_passkey(self) -> Holder:
        works(self.adds().status == DONE[REGISTER], "a user adds a passkey")
        works(len(passkeys_of(self.service, self.user)) == 1, "the passkey is stored")
        return self

    def sessions(self) -> int:
        """Return how many sessions were begun for the user, including those renewed by a step-up."""
        return sessions_of(self.service, self.user)

    def opens_all(self) -> None:
        """Check the legitimate use of a passkey in each ceremony."""
        for way in USES:
            before, asked = self.sessions(), self.asks(way)
            works(asked.gets(self.device.get(asked.options)).status == DONE[way], f"the passkey passes at the {way}")
            works(self.sessions() == before + 1, "a session begins")
            works(lives(asked.client), "the session belongs to the owner")


_NEW = re.compile(r"((?:name=\"state\" value=\"|\"state\": ?\")|challenge(?:\"|&#34;): ?(?:\"|&#34;))[\w.:=-]+")


REFUSED = {LOGIN: (401, NOTHING), SECOND: (401, NOTHING), STEP_UP: (403, NOTHING)}
LOCKED = ({"verified": False}, {"present": False}, {"verified": False, "present": False})


def without_counter(service: Service) -> Holder:
    """A device whose counter is always 0, so that the counter does not hide a replay."""
    return Holder(service, Authenticator(counts=False)).with_passkey()


FOR_LOGIN, FOR_REGISTRATION = (
    "            credential_public_key=row",
    "            require_user_verification=True,\n   ",
)
ELSEWHERE = (
    "https://evil.example",
    f"http://{HOST}",
    f"https://login.{HOST}",
    f"https://{HOST}:8443",
    f"https://{HOST}.evil.example",
    f"https://{HOST.partition('.')[2]}",
    "null",
)


def suspensions(service: Service, user: User) -> list[bool]:
    """Return for each passkey of this account whether it is suspended."""
    return [row.suspended_at is not None for row in passkeys_of(service, user)]


def noted(service: Service) -> list[uuid.UUID]:
    """Return the users whose passkeys the audit reports as copied."""
    table = service.module("audit.tables").AuditEvent.__table__
    with service.engine.connect() as connection:
        found = table.select().where(table.c.kind == "passkey.clone_suspected")
        return [row.user_id for row in connection.execute(found)]


def shape(given: tuple[dict[str, Any], str]) -> object:
    """Return options and state without their random parts."""
    options, state = given
    return {**options, "challenge": len(options["challenge"])}, [len(part) for part in re.split(r"[.:]", state)]


def seen(answer: Response, typed: str = "<none>") -> object:
    """Return the answer that the client sees, without its random parts."""
    view = seen_by_client(answer, typed)
    return {**view, "body": _NEW.sub(r"\1<new>", view["body"])}


def asks_for(service: Service, email: str) -> list[Response]:
    """Return the answer to a passkey login request that names this address."""
    fields = {"identifier": email}
    if AUTH == "jwt":
        return [visitor(service).post(OPTIONS_PATH, fields)]
    return [visitor(service).get(OPTIONS_PATH, query=fields), visitor(service).post(OPTIONS_PATH, fields)]


def ids(options: dict[str, Any], name: str = "allowCredentials") -> list[str]:
    """Return the credentials that the options name."""
    return [one["id"] for one in options.get(name, [])]


def not_added(answer: Response, reason: str) -> None:
    """Check that no passkey was added, and that only the audit has the reason."""
    assert answer.status == 422
    assert [event["reason"] for event in answer.events if event["event"] == "passkey.refused"] == [reason]


# --- passkey-user-verification ---------------------------------------------------------------------------------------

VERIFY_REGISTRATION = "            require_user_verification=True,\n            supported_pub_key_algs=ALGORITHMS,\n"


@protects(VERIFICATION, register=edit(FILE, VERIFY_REGISTRATION, VERIFY_REGISTRATION.replace("=True", "=False")))
def test_no_passkey_is_made_on_a_device_that_nobody_unlocked(service: Service) -> None:
    holder = Holder(service).with_passkey()
    for lies in LOCKED:
        answer = holder.adds(Authenticator(), **lies)
        harm(passkeys_of(service, holder.user)[1:], f"a passkey was added for {lies}")
        not_added(answer, "answer")


@protects(
    VERIFICATION,
    options=(
        edit(FILE, "UserVerificationRequirement.REQUIRED\n", "UserVerificationRequirement.PREFERRED\n"),
        edit(FILE, "UserVerificationRequirement.REQUIRED,\n", "UserVerificationRequirement.PREFERRED,\n"),
    ),
)
def test_each_ceremony_asks_for_a_device_that_is_unlocked(service: Service) -> None:
    holder = Holder(service).with_passkey()
    given = {way: holder.asks(way).options for way in (*USES, REGISTER)}
    asked = {way: options.get("authenticatorSelection", options)["userVerification"] for way, options in given.items()}
    harm([way for way, wanted in asked.items() if wanted != "required"], "a device may skip user verification")
    assert given[REGISTER]["authenticatorSelection"]["residentKey"] == "required"
    assert given[REGISTER]["attestation"] == "none"
    assert [one["alg"] for one in given[REGISTER]["pubKeyCredParams"]] == [EDDSA, ES256, RS256]


# --- passkey-challenge-once ------------------------------------------------------------------------------------------

OF_ITS_OWN = "of its own, so that nothing that follows brings the challenge back"
SPEND = f"""        with transaction() as connection:  # {OF_ITS_OWN}
            spent = {{"challenge_hash": digest(challenge), "expires_at": now() + GOOD_FOR}}
            connection.execute(insert(SpentChallenge).values(**spent))
"""
LATER = edit(
    FILE,
    SPEND,
    """        from flask import g

        g.spent = {"challenge_hash": digest(challenge), "expires_at": now() + GOOD_FOR}
""",
)
UNSIGN = "    value = signing.unsign(purpose, text, GOOD_FOR)\n"


@protects(
    ONCE,
    purged=edit(FILE, '"expires_at": now() + GOOD_FOR}', '"expires_at": now()}'),
    cleared=edit(
        "identity/flows.py", "delete(SpentChallenge).where(CHALLENGES.expires_at < now())", "delete(SpentChallenge)"
    ),
)
def test_the_purge_forgets_no_challenge_that_still_counts(service: Service) -> None:
    holder, flows = without_counter(service), service.module("identity.flows")
    asked = holder.asks(LOGIN)
    answer = holder.device.get(asked.options)
    works(asked.gets(answer).status == DONE[LOGIN], "the user signs in with the device's response")
    before = holder.sessions()
    service.travel(minutes=4, seconds=50)
    with service.app.app_context():
        flows.purge()
    replay = asked.gets(answer)
    harm(holder.sessions() - before, "the purge made a spent challenge valid again")
    refused(replay, *REFUSED[LOGIN])
    service.travel(seconds=11)
    with service.app.app_context():
        assert flows.purge() == 2  # this one, and that of the registration


@protects(
    ONCE,
    failed=(
        LATER,
        edit(
            FILE,
            "    return Assertion(row.id,",
            "    from flask import g\n\n"
            "    with transaction() as connection:\n"
            "        connection.execute(insert(SpentChallenge).values(**g.spent))\n"
            "    return Assertion(row.id,",
        ),
        edit(
            FILE,
            "    return Made(values, handle)\n",
            "    from flask import g\n\n"
            "    with transaction() as connection:\n"
            "        connection.execute(insert(SpentChallenge).values(**g.spent))\n"
            "    return Made(values, handle)\n",
        ),
    ),
)
def test_a_wrong_answer_spends_the_challenge_too(service: Service) -> None:
    holder = without_counter(service)
    holder.opens_all()
    answers = []
    for way in USES:
        asked, before = holder.asks(way), holder.sessions()
        first = asked.gets(holder.device.get(asked.options, verified=False))
        answers += [(way, first), (way, asked.gets(holder.device.get(asked.options)))]
        harm(holder.sessions() - before, f"a second try at one challenge was accepted at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    asked, other = holder.asks(REGISTER), Authenticator()
    not_added(asked.gets(other.create(asked.options, verified=False)), "answer")
    answer = asked.gets(other.create(asked.options))
    harm(passkeys_of(service, holder.user)[1:], "a second try at one challenge added a passkey")
    not_added(answer, "challenge")


@protects(
    ONCE,
    rollback=(
        LATER,
        edit(
            FILE,
            "    counter = assertion.sign_count\n",
            "    from flask import g\n\n"
            "    connection.execute(insert(SpentChallenge).values(**g.spent))\n"
            "    counter = assertion.sign_count\n",
        ),
    ),
)
def test_a_challenge_stays_spent_when_its_request_fails(service: Service) -> None:
    holder = without_counter(service)
    outage = Outage(service, "auth_session")
    holder.opens_all()
    asked, before = holder.asks(LOGIN), holder.sessions()
    answer = holder.device.get(asked.options)
    asked.client.honest("POST", {}, None, None, None)  # the page is open
    outage.on = True
    failed = asked.gets(answer)
    outage.on = False
    works((failed.status, outage.met > 0) == (503, True), "a login fails while its session cannot be stored")
    again = asked.gets(answer)
    harm(holder.sessions() - before, "a failed request made its challenge valid again")
    refused(again, *REFUSED[LOGIN])


@protects(
    ONCE,
    purpose=(
        edit(FILE, "signing.sign(purpose, ", 'signing.sign("passkey", '),
        edit(FILE, "signing.unsign(purpose, ", 'signing.unsign("passkey", '),
    ),
)
def test_a_challenge_for_one_thing_is_good_for_no_other(service: Service) -> None:
    holder = without_counter(service)
    holder.opens_all()
    answers = []
    for asked_for, used_at in itertools.permutations((*USES, REGISTER), 2):
        device = Authenticator() if used_at == REGISTER else holder.device
        source, target = holder.asks(asked_for), holder.asks(used_at)
        # The owner's device signs the data of the other ceremony over the challenge of this one.
        before, options = holder.sessions(), {**target.options, "challenge": source.options["challenge"]}
        answer = target.send(source.state, device.create(options) if used_at == REGISTER else device.get(options))
        harm(holder.sessions() - before, f"the challenge of a {asked_for} was accepted at the {used_at}")
        answers.append((used_at, answer))
    assert len(answers) == 12
    for used_at, answer in answers:
        if used_at == REGISTER:
            not_added(answer, "challenge")
        else:
            refused(answer, *REFUSED[used_at])


@protects(ONCE, session=edit(FILE, "    if bound != subject:\n", "    if False:\n"))
def test_a_challenge_of_another_session_is_good_for_nothing(service: Service) -> None:
    holder = without_counter(service)
    holder.opens_all()
    other = holder.signed_in()
    for way in (SECOND, STEP_UP):
        asked, own = holder.asks(way), holder.asks(way, other if way == STEP_UP else None)
        before = holder.sessions()
        answer = own.send(asked.state, holder.device.get(asked.options))
        harm(holder.sessions() - before, f"a challenge of another session was accepted at the {way}")
        refused(answer, *REFUSED[way])
    asked, own = holder.asks(REGISTER), holder.asks(REGISTER, other)
    answer = own.send(asked.state, Authenticator().create(asked.options))
    harm(passkeys_of(service, holder.user)[1:], "a challenge of another session added a passkey")
    not_added(answer, "challenge")


@protects(ONCE, end=edit(FILE, UNSIGN, "    value = signing.unsign(purpose, text, GOOD_FOR * 99)\n"))
def test_no_challenge_is_answered_after_five_minutes(service: Service) -> None:
    holder = without_counter(service)
    for way in (LOGIN, STEP_UP):
        asked = holder.asks(way)
        service.travel(minutes=4, seconds=50)
        works(asked.gets(holder.device.get(asked.options)).status == DONE[way], "a response in time is accepted")
    for way in (LOGIN, STEP_UP):
        asked, before = holder.asks(way), holder.sessions()
        service.travel(minutes=5, seconds=1)
        answer = asked.gets(holder.device.get(asked.options))
        harm(holder.sessions() - before, f"an expired challenge was accepted at the {way}")
        refused(answer, *REFUSED[way])


@protects(ONCE, signed=edit(FILE, UNSIGN, '    value = text.rsplit(".", 2)[0]\n'))
def test_no_challenge_is_taken_that_the_client_made_up(service: Service) -> None:
    holder = without_counter(service)
    holder.opens_all()
    own = to_text(bytes(32)) + "="  # as the service writes it
    asked, before, answers = holder.asks(LOGIN), holder.sessions(), []
    signature = asked.state.partition(".")[2]
    for state in (f"{own}::.{signature}", f"{own}::", own, f".{signature}", "x", "x" * 900, asked.state[:-2]):
        answers.append(asked.send(state, holder.device.get(asked.options, challenge=own.rstrip("="))))
        harm(holder.sessions() - before, "a challenge made by the client was accepted")
    answers.append(asked.gets(holder.device.get(asked.options, challenge=own.rstrip("="))))
    harm(holder.sessions() - before, "the response to another challenge was accepted")
    for answer in answers:
        refused(answer, *REFUSED[LOGIN])


@protects(
    ONCE,
    random=edit(
        FILE,
        "    challenge = secrets.token_bytes(CHALLENGE_BYTES)\n    return challenge, signing",
        ("    challenge = digest(purpose + now().date().isoformat())\n    return challenge, signing"),
    ),
)
def test_each_challenge_is_a_new_one_of_32_random_bytes(service: Service) -> None:
    holder = without_counter(service)
    asked = [holder.asks(way) for way in (*USES, REGISTER) for _ in range(3)]
    challenges = [from_text(one.options["challenge"]) for one in asked]
    works(len(asked) == 12, "each ceremony begins")
    works({len(challenge) for challenge in challenges} == {32}, "each has a challenge")
    harm(len(set(challenges)) < 12, "a challenge was issued twice")
    assert len({byte for challenge in challenges for byte in challenge}) > 150


RACERS = 8
ROUNDS = 2  # in each all racers meet behind what they have read
LOOKED_AT_FIRST = (
    edit(
        FILE,
        SPEND,
        f"""        with connect() as connection:
            known = select(CHALLENGES.challenge_hash).where(CHALLENGES.challenge_hash == digest(challenge))
            if connection.execute(known).first():
                raise Refusal("challenge")
{SPEND}""",
    ),
    edit(FILE, '        raise Refusal("challenge") from None\n    return _bytes', "        pass\n    return _bytes"),
)


class Gate:
    """Hold each write that spends a challenge, until all requests have read it."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        passkeys = service.module("identity.passkeys")
        self._real = passkeys.transaction
        self._barrier = threading.Barrier(1)
        self.passed: set[int] = set()
        monkeypatch.setattr(passkeys, "transaction", self._transaction)

    def _transaction(self) -> Any:
        self.passed.add(threading.get_ident())
        self._barrier.wait(timeout=30)
        return self._real()

    def race(self, calls: list[Callable[[], Response]]) -> list[Response]:
        """Return the answers to these calls, all of which wrote at the same moment."""
        self._barrier, self.passed = threading.Barrier(len(calls)), set()
        answers = at_once(calls)
        assert len(self.passed) == len(calls)
        self._barrier = threading.Barrier(1)
        return answers


@protects(ONCE, race=LOOKED_AT_FIRST)
def test_of_the_same_answer_many_times_at_once_one_signs_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = without_counter(service)
    gate = Gate(service, monkeypatch)
    works(holder.uses(LOGIN).status == DONE[LOGIN], "a single response signs in")
    works(gate.passed == {threading.get_ident()}, "it passed this barrier")
    for _ in range(ROUNDS):
        asked, before = holder.asks(LOGIN), holder.sessions()
        answer = holder.device.get(asked.options)
        visitors = [visitor(service) for _ in range(RACERS)]
        for came in visitors:
            came.honest("POST", {}, None, None, None)  # the page is open
        calls = [_sends(came, asked.state, answer) for came in visitors]
        answers = gate.race(calls)
        harm(holder.sessions() - before > 1, "two copies of one response signed in")
        assert Counter(one.status for one in answers) == {DONE[LOGIN]: 1, 401: RACERS - 1}
        for one in answers:
            if one.status == 401:
                refused(one, *REFUSED[LOGIN])


def _sends(came: Client, state: str, answer: dict[str, Any]) -> Callable[[], Response]:
    return lambda: came.login_with_passkey(state, answer)


# --- passkey-origin-rp -----------------------------------------------------------------------------------------------


@protects(
    ORIGINS,
    register=edit(
        FILE,
        OURS + FOR_REGISTRATION,
        OURS.replace("state().settings.public_origin", SIGNED_ORIGIN) + FOR_REGISTRATION,
    ),
)
def test_what_was_made_on_another_page_is_no_passkey(service: Service) -> None:
    holder = Holder(service).with_passkey()
    for origin in ELSEWHERE:
        answer = holder.adds(Authenticator(), origin=origin)
        harm(passkeys_of(service, holder.user)[1:], f"a registration from {origin} added a passkey")
        not_added(answer, "answer")


def through(monkeypatch: pytest.MonkeyPatch, client: Client, host: str) -> Client:
    """Return the same client under another host name of the service."""
    send = client.send

    def sends(*arguments: Any, headers: Any = None, **more: Any) -> Response:
        return send(*arguments, headers={"Host": host, **(headers or {})}, **more)

    monkeypatch.setattr(client, "send", sends)
    return client


@protects(
    ORIGINS,
    rp=edit(
        FILE,
        '    return urlsplit(state().settings.public_origin).hostname or ""\n',
        '    from flask import request\n\n    return request.host.partition(":")[0]\n',
    ),
)
def test_a_passkey_of_another_name_opens_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"login.{HOST}"  # another name of this service, where passkeys of its own could be made
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},{other}")
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before = holder.sessions()
    came = through(monkeypatch, visitor(service), other)
    asked = holder.asks(LOGIN, came)
    answers = [(LOGIN, asked.gets(holder.device.get(asked.options, rp_id=other)))]
    harm(holder.sessions() - before, "the request's host name was used as the relying party ID")
    for way, name in itertools.product(USES, (other, "evil.example", HOST.partition(".")[2], "", HOST.upper())):
        answers.append((way, holder.uses(way, rp_id=name)))
        harm(holder.sessions() - before, f"a passkey of {name!r} was accepted at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    assert asked.options["rpId"] == HOST
    asked = holder.asks(REGISTER, through(monkeypatch, holder.client, other))
    answer = asked.gets(Authenticator().create(asked.options, rp_id=other))
    harm(passkeys_of(service, holder.user)[1:], "a passkey of another relying party was added")
    not_added(answer, "answer")
    assert asked.options["rp"]["id"] == HOST


REFUSE_FRAMED = "        _refuse_cross_origin(answer)\n"


@protects(
    ORIGINS,
    framed=(
        edit(FILE, REFUSE_FRAMED + "        made", "        made"),
        edit(FILE, REFUSE_FRAMED + "        verified", "        verified"),
    ),
)
def test_responses_from_cross_origin_frames_are_refused(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before, answers = holder.sessions(), []
    for way in USES:
        answers.append((way, holder.uses(way, cross_origin=True)))
        harm(holder.sessions() - before, f"a response from a cross-origin frame was accepted at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    answer = holder.adds(Authenticator(), cross_origin=True)
    harm(passkeys_of(service, holder.user)[1:], "a cross-origin frame added a passkey")
    not_added(answer, "cross-origin")


@protects(ORIGINS)
def test_responses_of_another_ceremony_type_are_refused(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before = holder.sessions()
    for way, kind in itertools.product(USES, ("webauthn.create", "payment.get", "webauthn.GET")):
        answer = holder.uses(way, kind=kind)
        harm(holder.sessions() - before, f"{kind} was accepted at the {way}")
        refused(answer, *REFUSED[way])
    answer = holder.adds(Authenticator(), kind="webauthn.get")
    harm(passkeys_of(service, holder.user)[1:], "an assertion was accepted as a registration")
    not_added(answer, "answer")


@protects(
    ORIGINS,
    algorithms=edit(
        FILE,
        "            supported_pub_key_algs=ALGORITHMS,\n        )\n        _require",
        "            supported_pub_key_algs=[*COSEAlgorithmIdentifier],\n        )\n        _require",
    ),
    rsa=edit(FILE, "        _require_strong(made.credential_public_key)\n", ""),
)
def test_only_passkeys_of_strong_keys_are_taken(service: Service) -> None:
    for algorithm in (EDDSA, ES256, RS256):
        Holder(service, Authenticator(algorithm=algorithm)).with_passkey().opens_all()
    weak = {
        "SHA-1": (Authenticator(algorithm=RS1), "answer"),
        "a short key": (Authenticator(algorithm=RS256, rsa_bits=1024), "algorithm"),
        "a key that is a bit too short": (Authenticator(algorithm=RS256, rsa_bits=2040), "algorithm"),
        "a small exponent": (Authenticator(algorithm=RS256, rsa_exponent=3), "algorithm"),
    }
    for what, (device, reason) in weak.items():
        holder = Holder(service)
        answer = holder.adds(device)
        harm(passkeys_of(service, holder.user), f"a passkey of {what} was accepted")
        not_added(answer, reason)


# --- passkey-count-and-owner -----------------------------------------------------------------------------------------

NO_COUNTER = edit(FILE, AHEAD, "    ahead = PASSKEYS.id == assertion.id\n")
COMPARED_FIRST = (
    edit(FILE, "credential_current_sign_count=0,", "credential_current_sign_count=row.sign_count,"),
    edit(
        FILE,
        "PASSKEYS.public_key, USERS.passkey_handle)",
        "PASSKEYS.public_key, PASSKEYS.sign_count, USERS.passkey_handle)",
    ),
    NO_COUNTER,
)
REMOVE_ANY = "delete(Passkey).where(PASSKEYS.id == passkey_id)"
FIND = "    owner = USERS.passkey_handle == handle if user_id is None else PASSKEYS.user_id == user_id\n"
LIVE_AT_FIRST = ", owner, USERS.active, PASSKEYS.suspended_at.is_(None))\n"


def in_force_again(service: Service, user: User) -> None:
    """Lift the suspension of this account's passkeys; the counters stay."""
    table = service.module("identity.models").Passkey.__table__
    with service.engine.begin() as connection:
        connection.execute(table.update().where(table.c.user_id == user.id).values(suspended_at=None))


@protects(OWNERS, count=NO_COUNTER)
def test_a_counter_that_falls_back_suspends_the_passkey(service: Service) -> None:
    zero = without_counter(service)
    for _ in range(2):
        zero.opens_all()
    for way in USES:
        holder = Holder(service).with_passkey()
        holder.opens_all()
        for number, behind in enumerate((0, 1, 4), 1):
            in_force_again(service, holder.user)
            holder.client = holder.signed_in()  # a refusal at the step-up ends the session
            before = holder.sessions()
            stored = passkeys_of(service, holder.user)[0].sign_count
            assert stored == 4
            answer = holder.uses(way, count=stored - behind)
            harm(holder.sessions() - before, f"a counter {behind} behind was accepted at the {way}")
            refused(answer, *REFUSED[way])
            assert suspensions(service, holder.user) == [True]
            assert noted(service).count(holder.user.id) == number
    assert len(noted(service)) == 3 * len(USES)
    assert suspensions(service, zero.user) == [False]


@protects(
    OWNERS,
    suspends=edit("identity/attempts.py", "        passkeys.suspend(connection, assertion)\n", ""),
    suspended=(
        edit(FILE, LIVE_AT_FIRST, LIVE_AT_FIRST.replace(", PASSKEYS.suspended_at.is_(None)", "")),
        edit(
            FILE,
            "PASSKEYS.id == assertion.id, PASSKEYS.suspended_at.is_(None), ahead)",
            "PASSKEYS.id == assertion.id, ahead)",
        ),
    ),
    sessions=edit(
        "identity/attempts.py",
        "        sessions.end_all(assertion.user_id, connection=connection)  # one",
        "        # one",
    ),
)
def test_a_suspended_passkey_opens_nothing(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    second, signed_in = holder.asks(SECOND), holder.asks(STEP_UP)
    copied = holder.uses(LOGIN, count=1)
    works(copied.status == 401, "a copied passkey is detected")
    holder.device.credentials[0].count = 100
    before = holder.sessions()
    answer = holder.uses(LOGIN)
    second.gets(holder.device.get(second.options))
    signed_in.gets(holder.device.get(signed_in.options))
    harm(holder.sessions() - before, "a suspended passkey was accepted")
    refused(answer, *REFUSED[LOGIN])
    harm(lives(holder.client), "a session stays open that the copy may have begun")
    # Its account has a second factor as before: the password alone does not open it.
    attempt(visitor(service), holder.user.email, holder.user.password)
    assert holder.sessions() == before


@protects(
    OWNERS, owner=edit(FILE, FIND, FIND.replace("PASSKEYS.user_id == user_id", "PASSKEYS.user_id == PASSKEYS.user_id"))
)
def test_nobodys_passkey_completes_what_another_began(service: Service) -> None:
    victim, thief = Holder(service).with_passkey(), Holder(service).with_passkey()
    for holder in (victim, thief):
        holder.opens_all()
    before, answers = (victim.sessions(), thief.sessions()), []
    for way in (SECOND, STEP_UP):
        asked = victim.asks(way)  # with the victim's password, and in a session that the victim left open
        answers.append((way, asked.gets(thief.device.get(asked.options))))
        harm(victim.sessions() - before[0], f"another user's passkey was accepted at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    assert thief.sessions() == before[1]


@protects(
    OWNERS,
    handle=(
        edit(FILE, FIND, FIND.replace("USERS.passkey_handle == handle if", "USERS.id == PASSKEYS.user_id if")),
        edit(FILE, 'row is None or handle not in (b"", row.passkey_handle)', "row is None"),
    ),
)
def test_a_passkey_that_names_another_owner_opens_nothing(service: Service) -> None:
    holder, other = Holder(service).with_passkey(), Holder(service).with_passkey()
    holder.opens_all()
    handles = [other.device.credentials[0].handle, b"x" * 64, holder.device.credentials[0].handle[:-1]]
    before, answers = holder.sessions(), []
    for way, handle in [*itertools.product(USES, handles), (LOGIN, b"")]:
        answers.append((way, holder.uses(way, handle=handle)))
        harm(holder.sessions() - before, f"a foreign userHandle was accepted at the {way}")
    assert len(answers) == 10
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    # Where the account is known an authenticator may leave the handle out (Web Authentication, 7.2).
    assert holder.uses(SECOND, handle=b"").status == DONE[SECOND]


@protects(
    OWNERS,
    taken=edit(
        FILE,
        "        connection.execute(insert(Passkey).values(**made.values))\n",
        "        same = PASSKEYS.credential_hash == made.values['credential_hash']\n"
        "        connection.execute(delete(Passkey).where(same))\n"
        "        connection.execute(insert(Passkey).values(**made.values))\n",
    ),
)
def test_nobody_adds_a_passkey_that_is_somebodys_already(service: Service) -> None:
    victim, thief = Holder(service).with_passkey(), Holder(service).with_passkey()
    victim.opens_all()
    known = victim.device.credentials[0].id
    [kept] = passkeys_of(service, victim.user)
    for holder in (thief, victim):
        answer = holder.adds(Authenticator(), credential_id=known)
        harm(passkeys_of(service, victim.user) != [kept], "an existing passkey moved to another account")
        not_added(answer, "taken")
        harm(len(passkeys_of(service, thief.user)) != 1, "a passkey was added under an existing id")
    victim.opens_all()  # by the key that was there before


@protects(
    OWNERS,
    removed=edit(
        FILE,
        "connection.execute(delete(Passkey).where(PASSKEYS.id == passkey_id, PASSKEYS.user_id == user_id)).rowcount",
        'connection.execute(update(Passkey).where(PASSKEYS.id == passkey_id).values(name="")).rowcount',
    ),
)
def test_a_removed_passkey_opens_nothing_from_that_moment(service: Service) -> None:
    holder = Holder(service).with_passkey()
    lost, [lost_row] = holder.device.credentials[0], passkeys_of(service, holder.user)
    works(holder.adds().status == DONE[REGISTER], "the user adds a second passkey")
    holder.device.credentials.reverse()
    holder.opens_all()
    waiting = {LOGIN: holder.asks(LOGIN), SECOND: holder.asks(SECOND)}
    [shown] = [one for one in holder.client.passkeys() if str(one["id"]) == str(lost_row.id)]
    removed = holder.client.remove_passkey(shown["id"])
    works(removed.status == Client.DONE["remove_passkey"], "the user removes the lost passkey")
    before = holder.sessions()
    answers = [(LOGIN, waiting[LOGIN].gets(holder.device.get(waiting[LOGIN].options, lost)))]
    asked = holder.asks(SECOND)
    answers.append((SECOND, asked.gets(holder.device.get(asked.options, lost))))
    harm(holder.sessions() - before, "the removed passkey was accepted")
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    refused(waiting[SECOND].gets(holder.device.get(waiting[SECOND].options)), 401, "mfa-pending-has-no-access")
    assert len(passkeys_of(service, holder.user)) == 1


LISTED = edit(FILE, "shown.where(PASSKEYS.user_id == user_id).order_by", "shown.order_by")


@protects(
    OWNERS,
    rename=(
        LISTED,
        edit(
            FILE,
            "        mine = (PASSKEYS.id == passkey_id, PASSKEYS.user_id == user_id)\n",
            "        mine = (PASSKEYS.id == passkey_id,)\n",
        ),
    ),
    remove=(
        LISTED,
        edit(FILE, "delete(Passkey).where(PASSKEYS.id == passkey_id, PASSKEYS.user_id == user_id)", REMOVE_ANY),
    ),
)
def test_nobody_renames_or_removes_anothers_passkey(service: Service) -> None:
    victim, thief = Holder(service).with_passkey(), Holder(service).with_passkey()
    works(thief.adds().status == DONE[REGISTER], "the user adds a second passkey")
    [theirs], [own, other] = (passkeys_of(service, holder.user) for holder in (victim, thief))
    works(thief.client.rename_passkey(own.id, "Laptop").status == Client.DONE["rename_passkey"], "the user renames it")
    works([row.name for row in passkeys_of(service, thief.user)] == ["Laptop", "Key"], "it has its new name")
    works(thief.client.remove_passkey(other.id).status == Client.DONE["remove_passkey"], "the user removes it")
    answers = [thief.client.rename_passkey(theirs.id, "Mine"), thief.client.remove_passkey(theirs.id)]
    harm(passkeys_of(service, victim.user) != [theirs], "a user changed another user's passkey")
    for answer in answers:
        refused(answer, 404, "ownership-404")
    assert len(passkeys_of(service, thief.user)) == 1


@protects(OWNERS, most=edit(FILE, ".all()) >= MOST:", ".all()) >= 99:"))
def test_an_account_has_no_more_than_ten_passkeys(service: Service) -> None:
    holder = Holder(service)
    for number in range(10):
        works(holder.adds().status == DONE[REGISTER], f"passkey {number} is added")
    answer = holder.adds()
    harm(passkeys_of(service, holder.user)[10:], "an eleventh passkey was added")
    assert answer.status == 409
    holder.device.credentials.pop()
    holder.opens_all()


@protects(
    OWNERS,
    transports=edit(FILE, "known & {word for word in given if isinstance(word, str)}", "map(str, given or ())"),
)
def test_only_known_transports_are_stored(service: Service) -> None:
    holder = Holder(service).with_passkey()
    statuses = []
    for said in (["usb", "<b>", "hybrid"], [], 5, "usb", {"usb": 1}, ["usb", 5, ["usb"]]):
        asked, device = holder.asks(REGISTER), Authenticator()
        made = device.create(asked.options)
        made["response"]["transports"] = said
        statuses.append(asked.gets(made).status)
        words = {word for row in passkeys_of(service, holder.user) for word in row.transports.split()}
        harm(words - {"usb", "hybrid", "internal"}, "an unknown transport from the client was stored")
    # JSON is declared in the one style; in the other the browser's answer is one field of a form.
    assert statuses == {"session": [DONE[REGISTER]] * 6, "jwt": [DONE[REGISTER]] * 2 + [422] * 4}[AUTH]
    stored = [row.transports for row in passkeys_of(service, holder.user)]
    assert (
        stored
        == {"session": ["internal", "hybrid usb", "", "", "", "", "usb"], "jwt": ["internal", "hybrid usb", ""]}[AUTH]
    )
    options = holder.asks(STEP_UP).options
    assert len(ids(options)) == len(stored)
    assert [one.get("transports") for one in options["allowCredentials"]][:3] == [["internal"], ["hybrid", "usb"], None]


@protects(OWNERS, race=COMPARED_FIRST)
def test_of_a_passkey_and_its_copies_at_once_one_signs_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, barrier = service.module("identity.attempts"), [threading.Barrier(1)]
    store = attempts.with_assertion

    def stores(*arguments: Any, **more: Any) -> Any:
        barrier[0].wait(timeout=30)
        return store(*arguments, **more)

    monkeypatch.setattr(attempts, "with_assertion", stores)
    for _ in range(ROUNDS):
        barrier[0] = threading.Barrier(1)
        holder = Holder(service).with_passkey()
        holder.opens_all()
        before, asked = holder.sessions(), [holder.asks(LOGIN) for _ in range(RACERS)]
        for one in asked:
            one.client.honest("POST", {}, None, None, None)  # the page is open
        barrier[0] = threading.Barrier(RACERS)
        answers = at_once([_sends(one.client, one.state, holder.device.get(one.options, count=5)) for one in asked])
        harm(holder.sessions() - before > 1, "two responses with one counter value signed in")
        assert Counter(one.status for one in answers) == {DONE[LOGIN]: 1, 401: RACERS - 1}
        assert suspensions(service, holder.user) == [True]
        assert noted(service).count(holder.user.id) == RACERS - 1


# --- passkey-options-reveal-nothing ----------------------------------------------------------------------------------

ADD = {
    "session": ("session/factors.py", "@login_required(without_factor=True, fresh=True)\ndef add_passkey"),
    "jwt": ("jwt/factors.py", "@enrolling\n@operation(refuses=(409,))\ndef add_passkey"),
}[AUTH]
REFUSE = "        refuse(status, PASSKEY)\n\n\ndef with_assertion"
NOTE = '        audit.record("login.failure", user_id=user_id, reason=f"passkey: {refused.reason}")\n'


@protects(
    NOTHING,
    answer=edit(
        "identity/attempts.py", REFUSE, REFUSE.replace("(status,", '(404 if refused.reason == "unknown" else status,')
    ),
    work=edit("identity/attempts.py", NOTE, f'        if refused.reason != "unknown":\n    {NOTE}'),
)
def test_every_answer_that_fails_is_the_same_after_the_same_work(service: Service) -> None:
    holders = {name: Holder(service).with_passkey() for name in ("right", "wrong", "disabled", "suspended", "removed")}
    holders["right"].opens_all()
    service.rows(
        "UPDATE auth_user SET active = :no WHERE email = :email", no=False, email=holders["disabled"].user.email
    )
    works(holders["suspended"].uses(LOGIN, count=0).status == 401, "a copied passkey is detected")
    [row] = passkeys_of(service, holders["removed"].user)
    works(holders["removed"].client.remove_passkey(row.id).status == Client.DONE["remove_passkey"], "one is removed")
    right, wrong = (holders[name].device.credentials[0] for name in ("right", "wrong"))
    causes: dict[str, tuple[Holder, dict[str, Any]]] = {
        "bad signature": (holders["right"], {"challenge": to_text(bytes(32))}),
        "unknown": (holders["right"], {"credential_id": bytes(32)}),
        "another's": (holders["right"], {"credential_id": wrong.id}),
        "another's handle": (holders["right"], {"handle": wrong.handle}),
        "not unlocked": (holders["right"], {"verified": False}),
        **{name: (holders[name], {}) for name in ("disabled", "suspended", "removed")},
    }
    works(right.id != wrong.id, "each user has a passkey")
    statements, done = Statements(service), {}
    for cause, (holder, lies) in causes.items():
        asked = holder.asks(LOGIN)
        asked.client.honest("POST", {}, None, None, None)  # the page is open: only the answer is counted
        statements.count = 0
        answer = asked.gets(holder.device.get(asked.options, holder.device.credentials[0], **lies))
        done[cause] = answer, seen(answer), statements.count
    answers, views, work = zip(*done.values(), strict=True)
    harm([cause for cause, (_, view, _) in done.items() if view != views[0]], "an answer reveals its cause")
    harm([cause for cause, (_, _, count) in done.items() if count != work[0]], "an answer takes different work")
    assert len(done) == 8
    assert work[0] >= 4  # network, challenge, passkey, audit
    for answer in answers:
        refused(answer, *REFUSED[LOGIN])
    for name in ("rawId", "clientDataJSON", "userHandle"):
        for text in ("a", "\u00e9", "===="):  # no base64url
            asked = holders["right"].asks(LOGIN)
            sent = holders["right"].device.get(asked.options)
            (sent if name in sent else sent["response"])[name] = text
            refused(asked.gets(sent), *REFUSED[LOGIN])


@protects(
    NOTHING,
    row=edit(
        FILE,
        "    challenge, text = _challenge(purpose, subject)\n",
        "    challenge, text = _challenge(purpose, subject)\n"
        "    with transaction() as connection:\n"
        "        asked = {'challenge_hash': digest(text), 'expires_at': now() + GOOD_FOR}\n"
        "        connection.execute(insert(SpentChallenge).values(**asked))\n",
    ),
)
def test_to_be_asked_for_a_passkey_makes_no_row(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    waiting = holder.asks(SECOND).client
    visitors = [visitor(service) for _ in range(25)]
    before = everything(service)
    asked = [came.login_passkey_options() for came in visitors for _ in range(4)]
    harm(changed(before, everything(service)), "a stranger's request creates rows")
    works(len({state for _, state in asked}) == 100, "each request gets its own challenge")
    for _ in range(5):
        waiting.factor_passkey_options()
        holder.client.step_up_options()
        holder.client.passkey_options()
    harm(changed(before, everything(service)), "an option request creates rows")
    options, state = asked[0]
    assert visitors[0].login_with_passkey(state, holder.device.get(options)).status == DONE[LOGIN]
    assert "auth_spent_challenge" in changed(before, everything(service))


@protects(
    NOTHING,
    owner=(
        edit(
            FILE,
            "    handle = handle or secrets.token_bytes(HANDLE_BYTES)\n",
            "        everybodys = connection.execute(select(PASSKEYS.credential_id, PASSKEYS.transports)).all()\n"
            "    handle = handle or secrets.token_bytes(HANDLE_BYTES)\n",
        ),
        edit(FILE, "exclude_credentials=_descriptors(_own(user.id))", "exclude_credentials=_descriptors(everybodys)"),
    ),
    handle=edit(FILE, "handle or secrets.token_bytes(HANDLE_BYTES)\n", "handle or user.id.bytes\n"),
)
def test_options_name_nothing_but_what_is_ones_own(service: Service) -> None:
    holder, other, new = Holder(service).with_passkey(), Holder(service).with_passkey(), Holder(service)
    works(holder.adds().status == DONE[REGISTER], "the user adds a second passkey")
    own = [to_text(one.id) for one in holder.device.credentials]
    given = {way: holder.asks(way).options for way in (SECOND, STEP_UP, REGISTER)}
    works(ids(given[SECOND]) == own, "after the right password the user's passkeys are named")
    works(ids(given[STEP_UP]) == own, "a signed-in user gets the same")
    foreign = {to_text(other.device.credentials[0].id)}
    harm(foreign & {*ids(given[REGISTER], "excludeCredentials")}, "another user's passkey was named")
    assert ids(given[REGISTER], "excludeCredentials") == own
    handles = {one.user.id: from_text(one.asks(REGISTER).options["user"]["id"]) for one in (holder, other, new)}
    harm([True for one, handle in handles.items() if handle[:8] in one.bytes], "the handle reveals the account's id")
    assert {len(handle) for handle in handles.values()} == {64}
    assert len({*handles.values()}) == 3
    assert (
        from_text(holder.asks(REGISTER).options["user"]["id"]) == handles[holder.user.id]
    )  # one for all passkeys of a user
    works(holder.uses(LOGIN, credential=holder.device.credentials[0], count=0).status == 401, "one may be a copy")
    assert ids(holder.asks(SECOND).options) == own[1:]


@protects(NOTHING, fresh=edit(ADD[0], ADD[1], ADD[1].replace(", fresh=True", "").replace("enrolling", "looking")))
def test_nobody_adds_a_passkey_in_a_session_that_was_left_open(service: Service) -> None:
    holder = Holder(service).with_passkey()
    service.travel(seconds=service.limits.fresh_login_seconds - 100)
    asked = holder.asks(REGISTER)  # an attacker at the open computer sees the page
    service.travel(seconds=101)
    answer = asked.gets(Authenticator().create(asked.options))
    harm(passkeys_of(service, holder.user)[1:], "a stale session added a passkey")
    assert answer.status == Client.NOT_FRESH
    asked = holder.asks(STEP_UP)
    assert asked.gets(holder.device.get(asked.options)).status == DONE[STEP_UP]
    assert holder.adds().status == DONE[REGISTER]


# --- fresh login for changes of factors, and counters ---------------------------------------------------------------


@protects(
    "default-throttle",
    factors=edit(
        "identity/factors.py",
        '    throttle.spend("factor-change", user.id.hex, "default-throttle", CHANGES)\n',
        "    pass\n",
    ),
    renamed=edit("identity/factors.py", "    _spend(user)\n    if not passkeys.rename(", "    if not passkeys.rename("),
)
def test_second_factors_change_at_most_twenty_times_an_hour(service: Service) -> None:
    holder = Holder(service).with_passkey()
    client, [row] = holder.client, passkeys_of(service, holder.user)
    asked = holder.asks(REGISTER)
    throttle, changes = service.module("throttle"), service.module("identity.factors").CHANGES
    used = 0
    with service.app.app_context():
        while throttle.take("factor-change", holder.user.id.hex, changes)[0] is not None:
            used += 1
    works(used >= 19, "one of twenty changes added the first passkey")
    answers = [
        asked.gets(Authenticator().create(asked.options)),
        client.begin_totp(),
        client.new_codes(),
        client.rename_passkey(row.id, "Other"),
        client.remove_passkey(row.id),
    ]
    harm([answer.status for answer in answers if answer.status != 429], "one change above the limit")
    for answer in answers:
        refused(answer, 429, "default-throttle")
    assert [one.id for one in passkeys_of(service, holder.user)] == [row.id]
    service.travel(hours=1, seconds=1)
    with service.app.app_context():
        assert throttle.take("factor-change", holder.user.id.hex, changes)[0] is not None


@protects(
    "default-throttle",
    passkeys=edit("identity/attempts.py", "    throttle.count_passkey(assertion.user_id)\n", ""),
)
def test_passkeys_are_used_twenty_times_a_minute_and_no_more(service: Service) -> None:
    """Each use begins a session, so a limit of each session does not stop a client that begins a new one each time."""
    holder = Holder(service).with_passkey()
    throttle = service.module("throttle")

    works([holder.uses(way).status for way in (STEP_UP, LOGIN)] == [DONE[STEP_UP], DONE[LOGIN]], "a passkey is used")
    with service.app.app_context():
        for _ in range(18):
            throttle.count_passkey(holder.user.id)
    before = service.rows("SELECT count(*) FROM auth_session")
    answers = [holder.uses(way) for way in (STEP_UP, LOGIN)]
    harm(service.rows("SELECT count(*) FROM auth_session") != before, "one session above the limit")
    for answer in answers:
        refused(answer, 429, "default-throttle")
    service.travel(seconds=61)
    assert [holder.uses(way).status for way in (STEP_UP, LOGIN)] == [DONE[STEP_UP], DONE[LOGIN]]


@protects(VERIFICATION, login=edit(FILE, VERIFY_LOGIN, VERIFY_LOGIN.replace("=True", "=False")))
def test_a_passkey_without_user_verification_is_refused(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before, answers = holder.sessions(), []
    for way, lies in itertools.product(USES, LOCKED):
        answers.append((way, holder.uses(way, **lies)))
        harm(holder.sessions() - before, f"a session began for {lies} at the {way}")
    assert len(answers) == 9
    for way, answer in answers:
        refused(answer, *REFUSED[way])
    assert holder.uses(LOGIN).status == DONE[LOGIN]


@protects(ONCE, spent=edit(FILE, "            connection.execute(insert(SpentChallenge).values(**spent))\n", ""))
def test_an_answer_that_was_read_on_its_way_opens_nothing_again(service: Service) -> None:
    holder = without_counter(service)
    asked = holder.asks(LOGIN)
    answer = holder.device.get(asked.options)
    works(asked.gets(answer).status == DONE[LOGIN], "the user signs in with the device's response")
    before = holder.sessions()
    replays = [came.login_with_passkey(asked.state, answer) for came in (asked.client, visitor(service))]
    harm(holder.sessions() - before, "a replayed response opened a second session")
    for replay in replays:
        refused(replay, *REFUSED[LOGIN])
    assert holder.uses(LOGIN).status == DONE[LOGIN]


@protects(
    ORIGINS,
    origin=edit(FILE, OURS + FOR_LOGIN, OURS.replace("state().settings.public_origin", SIGNED_ORIGIN) + FOR_LOGIN),
)
def test_what_was_signed_on_another_page_opens_nothing(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before, answers = holder.sessions(), []
    for way, origin in itertools.product(USES, ELSEWHERE):
        answers.append((way, holder.uses(way, origin=origin)))
        harm(holder.sessions() - before, f"a response from {origin} was accepted at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])


@protects(
    OWNERS,
    zero=edit(FILE, AHEAD, AHEAD.replace("PASSKEYS.sign_count == 0", "PASSKEYS.sign_count >= 0")),
    told=edit("identity/attempts.py", "        notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)\n", ""),
)
def test_a_passkey_that_has_counted_never_says_zero_again(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before = holder.sessions()
    answer = holder.uses(LOGIN, count=0)
    harm(holder.sessions() - before, "a cloned passkey with a counter of zero opened a session")
    mailed = [email for purpose, email in due(service) if purpose == "passkey-suspended"]
    harm(mailed != [holder.user.email], "the owner got no mail")
    refused(answer, *REFUSED[LOGIN])
    assert suspensions(service, holder.user) == [True]
    assert noted(service) == [holder.user.id]


@protects(NOTHING, allow=ASK_AS_NAMED)
def test_whoever_asks_to_sign_in_by_passkey_learns_of_nobody(service: Service) -> None:
    holder, other = Holder(service).with_passkey(), Holder(service)
    holder.opens_all()
    plain = shape(visitor(service).login_passkey_options())
    own = to_text(holder.device.credentials[0].id)
    views = []
    for email in (holder.user.email, other.user.email, UNKNOWN):
        answers = asks_for(service, email)
        harm([answer for answer in answers if own in answer.text], "options reveal the passkeys of an address")
        views.append([seen(answer, email) for answer in answers])
    assert views[1:] == views[:-1]
    waiting = visitor(service)
    attempt(waiting, holder.user.email, holder.user.password)
    for came in (waiting, holder.client, other.client):
        assert shape(came.login_passkey_options()) == plain
    assert ids(visitor(service).login_passkey_options()[0]) == []
