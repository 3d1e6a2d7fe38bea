"""Edges of the proofs in test_forms.py: further attacks on the same protections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ...harness import edit, harm, protects, refused, works
from ...session.test_forms import ODD, has_control
from ..test_passkeys import DONE, without_counter
from ..test_passkeys import LOGIN as PASSKEY_LOGIN

if TYPE_CHECKING:
    from ...running import Service


ROW = "input-validated-typed"
NUMBERS = ("0", "-1", "2147483648", "9223372036854775808", "9" * 400, "1.0", "1e3", "+1", " 1", "1 ", "1_0", "0x1")
NO_NUMBERS = ("", "one", "\u0661", "\uff11", "NaN", "[1]", "null", "true")


@protects(
    "input-validated-typed",
    length=edit("session/forms.py", "[InputRequired(), Length(max=LONGEST_IDENTIFIER)]", "[InputRequired()]"),
)
def test_no_credential_is_looked_at_that_is_longer_than_any_can_be(service: Service) -> None:
    longest = service.module("session.forms").LONGEST_IDENTIFIER
    client = service.client(service.user())
    path, fields = "/login", {"identifier": "x" * longest, "password": "wrong" * 4}
    works(client.post(path, fields).status == 401, "the longest address is looked up")
    counted = service.rows("SELECT count(*) FROM throttle_counter")[0][0]
    works(counted == 1, "and the attempt is counted")

    answers = [
        client.post(path, {**fields, **wrong})
        for wrong in (
            {"identifier": "y" * (longest + 1)},
            {"identifier": "y" * 60_000},
            {"password": "y" * 60_000},
            {"identifier": None},
            {"identifier": ""},
            {"password": None},
            {"password": ""},
        )
    ]
    harm(
        service.rows("SELECT count(*) FROM throttle_counter")[0][0] > counted,
        "an address that nobody has was looked up",
    )
    assert [answer.status for answer in answers] == [422] * 7
    assert "y" * 1000 not in answers[2].text  # a password is never shown again


@protects(
    "input-validated-typed",
    repeated=edit(
        "session/account.py",
        'Length(max=LONGEST_TYPED), EqualTo("password", "The two passwords are not the same.")],',
        "Length(max=LONGEST_TYPED)],",
    ),
)
def test_a_mistyped_repetition_changes_no_password(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    new, other = "seven quiet otters row home", "nine slow badgers walk to town"
    works(
        client.change_password(user.password, new).status == client.DONE["change_password"], "the same twice is taken"
    )
    kept = service.rows("SELECT password_hash FROM auth_user")
    answer = client.change_password(new, other, again=f"{other}s")
    harm(service.rows("SELECT password_hash FROM auth_user") != kept, "a mistyped password locks its owner out")
    assert answer.status == 422


@protects("input-validated-typed")
def test_no_text_as_a_credential_is_an_error_or_another_answer(service: Service) -> None:
    user = service.user()
    works(service.client(user).login(through_form=True).cookie, "the right password signs in")
    sessions = service.rows("SELECT count(*) FROM auth_session")[0][0]

    text = "a\x01b\u202e\ufffe@\u0130.example"
    answer = service.client(address="192.0.2.20").post("/login", {"identifier": text, "password": text})
    harm(service.rows("SELECT count(*) FROM auth_session")[0][0] != sessions, "somebody was signed in")
    refused(answer, 401, "login-uniform-failure")


def adds_list(service: Service) -> list[Any]:
    """A list as a team writes it: what its address carried, each time that the view went on."""
    arrived: list[Any] = []

    def view() -> Any:
        class Query(service.module("session.forms").ListQuery):  # type: ignore[misc]
            """The first of its orders is the one that is meant when none is named."""

            sorts = ("newest", "oldest")

        query = Query.read()
        arrived.append((query.page.number, query.q.data, query.sort.data))
        return {"page": query.page.number}

    service.adds_route("/list", view=view)
    return arrived


@protects(
    "input-validated-typed",
    range=edit("session/forms.py", "not 1 <= int(text) <= LARGEST_NUMBER", "not 1 <= int(text)"),
)
def test_no_list_gets_a_page_search_or_order_that_it_does_not_have(service: Service) -> None:
    arrived = adds_list(service)
    client = service.client(service.user()).login()
    for query in ({}, {"page": "1"}, {"page": "2147483647"}, {"q": "Zoë"}, {"q": "x" * 100}, {"sort": "oldest"}):
        works(client.get("/list", query=query).status == 200, f"{query} is taken")
    works(len(arrived) == 6, "by the view")
    arrived.clear()

    queries: list[dict[str, Any]] = [{"page": text} for text in (*NUMBERS, *NO_NUMBERS)]
    queries += [
        {"q": "x" * 101},
        {"sort": "oldest; DROP TABLE note"},
        {"sort": ""},
    ]
    queries += [{"q": text} for text in ODD if not has_control(text)]  # inputs.py has refused the others
    answers = [client.get("/list", query=query) for query in queries]
    harm(arrived, "a list was made for what its address may not carry")
    for answer in answers:
        refused(answer, 422, ROW)
    client.get("/list", query={"unknown": "1", "page": "2"})
    assert arrived == [(2, "", "newest")]  # what is not declared is not read


class CountedPattern:
    """Stands for a compiled pattern, and counts the texts that reach it."""

    def __init__(self, pattern: Any) -> None:
        self.seen: list[int] = []
        self._pattern = pattern

    def match(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.match(text)

    def search(self, text: str) -> Any:
        self.seen.append(len(text))
        return self._pattern.search(text)


@protects(
    "input-validated-typed",
    patterns=edit("session/forms.py", "len(text) > MOST_DIGITS or not _NUMBER", "not _NUMBER"),
)
def test_no_pattern_is_applied_to_a_text_of_thousands_of_characters(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    adds_list(service)
    client = service.client(service.user()).login()
    counted = {}
    for module, name in (("session.forms", "_NUMBER"), ("session.redirects", "_UNSAFE")):
        counted[name] = CountedPattern(getattr(service.module(module), name))
        monkeypatch.setattr(service.module(module), name, counted[name])
    visitor = service.client()
    works(client.get("/list", query={"page": "12"}).status == 200, "a page's number is read")
    works(visitor.get("/login", query={"next": "/account"}).status == 200, "so is where to go after signing in")
    works([len(one.seen) for one in counted.values()] == [1, 1], "each by its pattern")

    answers = [client.get("/list", query={"page": text * 8_000}) for text in ("1", "a")]
    visitor.get("/login", query={"next": "/" + "\\" * 2_000})
    harm([one.seen for one in counted.values() if max(one.seen) > 1000], "a pattern was applied to a long text")
    for answer in answers:
        refused(answer, 422, ROW)


# --- what passkey.js fills in -----------------------------------------------------------------------------------------


@protects(
    "json-strict",
    passkeys=(
        edit("session/factors.py", "strict_json.loads((self", '__import__("json").loads((self'),
        edit("session/factors.py", "except strict_json.InvalidJSON:", "except ZeroDivisionError:"),
    ),
)
def test_no_answer_of_a_passkey_is_read_that_others_read_differently(service: Service) -> None:
    holder = without_counter(service)
    works(holder.uses(PASSKEY_LOGIN).status == DONE[PASSKEY_LOGIN], "the answer of a device signs in")
    before, asked = holder.sessions(), holder.asks(PASSKEY_LOGIN)
    answer = json.dumps(holder.device.get(asked.options))
    texts = [f'{{"id": "x", {answer[1:]}', answer[:-1], f"{answer}x", f"[{answer}]", '"x"', "x", "NaN"]
    answers = [asked.client.post("/login/passkey", {"state": asked.state, "credential": text}) for text in texts]
    harm(holder.sessions() - before, "a document in which a name stands twice signed in")
    for one in answers:
        refused(one, 400, "json-strict")
    nothing = asked.client.post("/login/passkey", {"state": asked.state, "credential": ""})
    assert (nothing.status, "The device gave no answer." in nothing.text) == (422, True)
    assert asked.gets(json.loads(answer)).status == DONE[PASSKEY_LOGIN]  # its challenge was not spent
