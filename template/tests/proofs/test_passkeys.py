"""Proofs of identity/passkeys.py: a signed response opens an account only if every part matches the request.

Each attack comes with a session, a token of its form and an origin as an honest browser has them: what is wrong is
inside the answer of the device alone, and is signed with the passkey's own key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .accounts import TAKES_ANYTHING
from .authenticator import Authenticator, to_text
from .harness import edit, harm, protects, refused, works
from .logins import sessions_of
from .service import AUTH, Client

if TYPE_CHECKING:
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
SIGNED_IN = Client.DONE["login_with_passkey"]


# --- passkey-user-verification ---------------------------------------------------------------------------------------

VERIFY_LOGIN = "so that no two answers race\n            require_user_verification=True,\n"


def with_passkey(service: Service, device: Authenticator) -> User:
    """A user with a passkey on this device."""
    user = service.user()
    client = service.client(user, "198.51.100.1").login()
    options, state = client.passkey_options()
    answer = client.add_passkey(state, device.create(options))
    works(answer.status == Client.DONE["add_passkey"], "a user adds a passkey")
    return user


def signs_in(service: Service, device: Authenticator, **lies: Any) -> Response:
    """Sign in with the passkey of this device."""
    client = service.client(address="198.51.100.2")
    options, state = client.login_passkey_options()
    return client.login_with_passkey(state, device.get(options, **lies))


@protects(VERIFICATION, login=edit(FILE, VERIFY_LOGIN, VERIFY_LOGIN.replace("=True", "=False")))
def test_a_passkey_opens_nothing_on_a_device_that_is_locked(service: Service) -> None:
    device = Authenticator()
    user = with_passkey(service, device)
    works(signs_in(service, device).status == SIGNED_IN, "the user signs in with the passkey")
    before = sessions_of(service, user)
    answer = signs_in(service, device, verified=False)
    harm(sessions_of(service, user) - before, "a passkey without user verification opened a session")
    refused(answer, 401, NOTHING)


# --- passkey-challenge-once ------------------------------------------------------------------------------------------


@protects(ONCE, spent=edit(FILE, "            connection.execute(insert(SpentChallenge).values(**spent))\n", ""))
def test_an_answer_of_a_device_opens_an_account_once(service: Service) -> None:
    device = Authenticator(counts=False)  # it always says 0, so that the counter does not hide a second use
    user = with_passkey(service, device)
    client, thief = (service.client(address=f"198.51.100.{number}") for number in (2, 3))
    options, state = client.login_passkey_options()
    answer = device.get(options)
    works(client.login_with_passkey(state, answer).status == SIGNED_IN, "the user signs in with the device's response")
    before = sessions_of(service, user)
    replay = thief.login_with_passkey(state, answer)
    harm(sessions_of(service, user) - before, "a replayed response opened a second session")
    refused(replay, 401, NOTHING)


# --- passkey-origin-rp -----------------------------------------------------------------------------------------------

SIGNED_ORIGIN = 'parse_client_data_json(_field(answer, "response", "clientDataJSON")).origin'
OURS = "            expected_origin=state().settings.public_origin,\n"
FOR_LOGIN = "            credential_public_key=row"


@protects(
    ORIGINS,
    origin=edit(FILE, OURS + FOR_LOGIN, OURS.replace("state().settings.public_origin", SIGNED_ORIGIN) + FOR_LOGIN),
)
def test_what_was_signed_on_a_page_of_another_origin_opens_nothing(service: Service) -> None:
    device = Authenticator()
    user = with_passkey(service, device)
    works(signs_in(service, device).status == SIGNED_IN, "the user signs in with the passkey")
    before = sessions_of(service, user)
    answer = signs_in(service, device, origin="https://evil.example")
    harm(sessions_of(service, user) - before, "a response signed for another origin opened a session")
    refused(answer, 401, NOTHING)


# --- passkey-count-and-owner -----------------------------------------------------------------------------------------

AHEAD = "    ahead = PASSKEYS.sign_count < counter if counter else PASSKEYS.sign_count == 0\n"


@protects(OWNERS, zero=edit(FILE, AHEAD, AHEAD.replace("PASSKEYS.sign_count == 0", "PASSKEYS.sign_count >= 0")))
def test_a_copy_of_a_passkey_without_its_counter_opens_nothing(service: Service) -> None:
    device = Authenticator()
    user = with_passkey(service, device)
    works(signs_in(service, device).status == SIGNED_IN, "the user signs in with the passkey")
    before = sessions_of(service, user)
    answer = signs_in(service, device, count=0)
    harm(sessions_of(service, user) - before, "a cloned passkey with a counter of zero opened a session")
    refused(answer, 401, NOTHING)
    refused(signs_in(service, device), 401, NOTHING)  # it is out of force


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
        "        user_id = connection.execute(select(USERS.id).where(USERS.email == named)).scalar()\n"
        '    return _ask(LOGIN, "", _own(user_id) if user_id else ())\n',
    ),
)


@protects(NOTHING, allow=ASK_AS_NAMED)
def test_asking_to_sign_in_by_passkey_tells_of_no_account(service: Service) -> None:
    device = Authenticator()
    fields = {"identifier": with_passkey(service, device).email}
    works(signs_in(service, device).status == SIGNED_IN, "the user signs in with the passkey")
    client = service.client(address="198.51.100.3")
    answer = client.post(OPTIONS_PATH, fields) if AUTH == "jwt" else client.get(OPTIONS_PATH, query=fields)
    harm(to_text(device.credentials[0].id) in answer.text, "the login options revealed an account's passkeys")
    assert answer.ok
