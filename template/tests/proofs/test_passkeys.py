"""Proofs of identity/passkeys.py: what a device signs opens an account only if all of it is as the service asked.

Each attack comes with a session, a token of its form and an origin as an honest browser has them: what is wrong is
inside the answer of the device alone, and is signed with the passkey's own key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .accounts import TAKES_ANYTHING, lives
from .authenticator import Authenticator, to_text
from .harness import edit, harm, protects, refused, works
from .logins import UNKNOWN, attempt, seen_by_client, sessions_of
from .mails import waiting as due
from .service import AUTH, Client
from .wire import HOST

if TYPE_CHECKING:
    import uuid

    from .running import Service, User
    from .wire import Response


FILE = "identity/passkeys.py"
VERIFICATION, ONCE, ORIGINS, OWNERS, NOTHING = (
    "passkey-user-verification",
    "passkey-challenge-once",
    "passkey-origin-rp",
    "passkey-count-and-owner",
    "passkey-options-reveal-nothing",
)
LOGIN, SECOND, STEP_UP, REGISTER = "login", "second factor", "step-up", "registration"
USES = (LOGIN, SECOND, STEP_UP)
DONE = {
    LOGIN: Client.DONE["login_with_passkey"],
    SECOND: Client.DONE["send_passkey"],
    STEP_UP: Client.DONE["step_up_with_passkey"],
    REGISTER: Client.DONE["add_passkey"],
}
REFUSED = {LOGIN: (401, NOTHING), SECOND: (401, NOTHING), STEP_UP: (403, NOTHING)}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Asked:
    """One ceremony that has begun: what the browser was given, and how its answer is sent."""

    client: Client
    options: dict[str, Any]
    state: str
    send: Callable[[str, dict[str, Any]], Response]

    def gets(self, answer: dict[str, Any]) -> Response:
        return self.send(self.state, answer)


class Holder:
    """Somebody who is signed in, with a device; he comes from another network each time."""

    def __init__(self, service: Service, device: Authenticator | None = None, user: User | None = None) -> None:
        self.service = service
        self.user = user or service.user()
        self.device = device or Authenticator()
        self.client = self.signed_in()

    def signed_in(self) -> Client:
        """One more session of his."""
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
        """Do the whole of it with the passkey."""
        asked = self.asks(way)
        return asked.gets(self.device.get(asked.options, **lies))

    def adds(self, device: Authenticator | None = None, **lies: Any) -> Response:
        """Add a passkey of this device, or one more of his own."""
        asked = self.asks(REGISTER)
        return asked.gets((device or self.device).create(asked.options, **lies))

    def with_passkey(self) -> Holder:
        works(self.adds().status == DONE[REGISTER], "a passkey is added")
        works(len(passkeys_of(self.service, self.user)) == 1, "and is there")
        return self

    def sessions(self) -> int:
        """How many sessions were begun for him, those included that a step-up began anew."""
        return sessions_of(self.service, self.user)

    def opens_all(self) -> None:
        """The legitimate way, for each use."""
        for way in USES:
            before, asked = self.sessions(), self.asks(way)
            works(asked.gets(self.device.get(asked.options)).status == DONE[way], f"the passkey is taken at the {way}")
            works(self.sessions() == before + 1, "and a session begins")
            works(lives(asked.client), "in which its owner then is")


def visitor(service: Service, user: User | None = None) -> Client:
    """Somebody from a network of his own."""
    number = next(_numbers)
    return service.client(user, f"198.{18 + number // 250 % 2}.{number % 250}.7")


def passkeys_of(service: Service, user: User) -> list[Any]:
    """The rows of this account's passkeys, oldest first."""
    table = service.module("identity.models").Passkey.__table__
    with service.engine.connect() as connection:
        mine = table.select().where(table.c.user_id == user.id).order_by(table.c.created_at)
        return list(connection.execute(mine))


# --- passkey-user-verification ---------------------------------------------------------------------------------------

VERIFY_LOGIN = "so that no two answers race\n            require_user_verification=True,\n"
LOCKED = ({"verified": False}, {"present": False}, {"verified": False, "present": False})


@protects(VERIFICATION, login=edit(FILE, VERIFY_LOGIN, VERIFY_LOGIN.replace("=True", "=False")))
def test_a_passkey_opens_nothing_on_a_device_that_nobody_unlocked(service: Service) -> None:
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


# --- passkey-challenge-once ------------------------------------------------------------------------------------------


def without_counter(service: Service) -> Holder:
    """Whose passkey always says 0, so that the counter does not hide a second use."""
    return Holder(service, Authenticator(counts=False)).with_passkey()


@protects(ONCE, spent=edit(FILE, "            connection.execute(insert(SpentChallenge).values(**spent))\n", ""))
def test_an_answer_that_was_read_on_its_way_opens_nothing_again(service: Service) -> None:
    holder = without_counter(service)
    asked = holder.asks(LOGIN)
    answer = holder.device.get(asked.options)
    works(asked.gets(answer).status == DONE[LOGIN], "the answer signs in")
    before = holder.sessions()
    replays = [came.login_with_passkey(asked.state, answer) for came in (asked.client, visitor(service))]
    harm(holder.sessions() - before, "the same answer signed in once more")
    for replay in replays:
        refused(replay, *REFUSED[LOGIN])
    assert holder.uses(LOGIN).status == DONE[LOGIN]


# --- passkey-origin-rp -----------------------------------------------------------------------------------------------

SIGNED_ORIGIN = 'parse_client_data_json(_field(answer, "response", "clientDataJSON")).origin'
OURS = "            expected_origin=state().settings.public_origin,\n"
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
        harm(holder.sessions() - before, f"what was signed on {origin} was taken at the {way}")
    for way, answer in answers:
        refused(answer, *REFUSED[way])


# --- passkey-count-and-owner -----------------------------------------------------------------------------------------

AHEAD = "    ahead = _p.sign_count < counter if counter else _p.sign_count == 0\n"


def suspensions(service: Service, user: User) -> list[bool]:
    """Of each passkey of this account whether it is out of force."""
    return [row.suspended_at is not None for row in passkeys_of(service, user)]


def noted(service: Service) -> list[uuid.UUID]:
    """Whose passkeys the audit says to have been copied."""
    table = service.module("identity.models").AuditEvent.__table__
    with service.engine.connect() as connection:
        found = table.select().where(table.c.kind == "passkey.clone_suspected")
        return [row.user_id for row in connection.execute(found)]


@protects(
    OWNERS,
    zero=edit(FILE, AHEAD, AHEAD.replace("_p.sign_count == 0", "_p.sign_count >= 0")),
    told=edit("identity/login.py", "        _notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)\n", ""),
)
def test_a_passkey_that_has_counted_never_says_zero_again(service: Service) -> None:
    holder = Holder(service).with_passkey()
    holder.opens_all()
    before = holder.sessions()
    answer = holder.uses(LOGIN, count=0)
    harm(holder.sessions() - before, "a copy without a counter signed in")
    told = [email for purpose, email in due(service) if purpose == "passkey-suspended"]
    harm(told != [holder.user.email], "its owner was not told")
    refused(answer, *REFUSED[LOGIN])
    assert suspensions(service, holder.user) == [True]
    assert noted(service) == [holder.user.id]


# --- passkey-options-reveal-nothing ----------------------------------------------------------------------------------

OPTIONS_PATH = {"session": "/login/passkey", "jwt": "/auth/login/passkey/options"}[AUTH]
ASK_NOBODY = '    return _ask(LOGIN, "", ())\n'
ASK_AS_NAMED = (
    *TAKES_ANYTHING,
    edit(
        FILE,
        ASK_NOBODY,
        '    sent = __import__("flask").request\n'
        '    named = (sent.get_json(silent=True) or sent.values).get("identifier")\n'
        "    with connect() as connection:\n"
        "        user_id = connection.execute(select(_u.id).where(_u.email == named)).scalar()\n"
        '    return _ask(LOGIN, "", _own(user_id) if user_id else ())\n',
    ),
)
_NEW = re.compile(r"((?:name=\"state\" value=\"|\"state\": ?\")|challenge(?:\"|&#34;): ?(?:\"|&#34;))[\w.:=-]+")


def shape(given: tuple[dict[str, Any], str]) -> object:
    """Options and state, without what is new in each."""
    options, state = given
    return {**options, "challenge": len(options["challenge"])}, [len(part) for part in re.split(r"[.:]", state)]


def seen(answer: Response, typed: str = "<nobody>") -> object:
    """What the client gets to see, without what is new in each answer."""
    view = seen_by_client(answer, typed)
    return {**view, "body": _NEW.sub(r"\1<new>", view["body"])}


def asks_for(service: Service, email: str) -> list[Response]:
    """What somebody is told who asks to sign in by passkey, and sends this address along."""
    fields = {"identifier": email}
    if AUTH == "jwt":
        return [visitor(service).post(OPTIONS_PATH, fields)]
    return [visitor(service).get(OPTIONS_PATH, query=fields), visitor(service).post(OPTIONS_PATH, fields)]


def ids(options: dict[str, Any], name: str = "allowCredentials") -> list[str]:
    """The credentials that are named."""
    return [one["id"] for one in options.get(name, [])]


@protects(NOTHING, allow=ASK_AS_NAMED)
def test_whoever_asks_to_sign_in_by_passkey_learns_of_nobody(service: Service) -> None:
    holder, other = Holder(service).with_passkey(), Holder(service)
    holder.opens_all()
    plain = shape(visitor(service).login_passkey_options())
    own = to_text(holder.device.credentials[0].id)
    views = []
    for email in (holder.user.email, other.user.email, UNKNOWN):
        answers = asks_for(service, email)
        harm([answer for answer in answers if own in answer.text], "whoever types an address is told its passkeys")
        views.append([seen(answer, email) for answer in answers])
    assert views[1:] == views[:-1]
    waiting = visitor(service)
    attempt(waiting, holder.user.email, holder.user.password)
    for came in (waiting, holder.client, other.client):
        assert shape(came.login_passkey_options()) == plain
    assert ids(visitor(service).login_passkey_options()[0]) == []
