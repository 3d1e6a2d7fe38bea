"""Proofs of log.py: whatever is logged, by whom and in which way, no password, token or key is in it.

They stop whoever may read the log, and that are many, from signing in as somebody.
"""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from .harness import edit, harm, protects, refused, works
from .running import PASSWORD, Service
from .wire import BaseClient

if TYPE_CHECKING:
    from flask import Flask

TOKEN = secrets.token_urlsafe(32)
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLWEtY2FuYXJ5"
PEM = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5LWtleS1tYXRlcmlhbA\n-----END PRIVATE KEY-----"
PATTERNS: dict[str, tuple[str, str]] = {
    "a session or refresh token": (TOKEN, TOKEN),
    "a JWT": (JWT, "c2lnbmF0dXJlLW9mLWEtY2FuYXJ5"),
    "a private key": (PEM, "Y2FuYXJ5LWtleS1tYXRlcmlhbA"),
    "half of a private key": (PEM.rpartition("\n")[0], "Y2FuYXJ5LWtleS1tYXRlcmlhbA"),
    "a password in an address": ("postgresql://ada:canary-url@db.internal/x", "canary-url"),
    "a password in a driver's text": (
        "connection failed: host=db user=ada password=canary-dsn port=5432",
        "canary-dsn",
    ),
    "an Authorization header": ("Authorization: Bearer canary-opaque-token", "canary-opaque-token"),
    "a signed cookie": (f".eJyrVsrMS8svUrJSSs5PSVWqBQA-canary.aSJk0A.{secrets.token_urlsafe(32)}", "eJyrVsrMS8svUrJS"),
    "a form's token": (f"IjM4ZjA5YWNhbmFyeS1vZi1hLWZvcm0i.aSJk0A.{secrets.token_urlsafe(20)}", "IjM4ZjA5YWNhbmFy"),
    "the hash of a password": ("$argon2id$v=19$m=65536,t=3,p=1$Y2FuYXJ5c2FsdA$Y2FuYXJ5aGFzaA", "Y2FuYXJ5aGFzaA"),
}
"""What a secret looks like, with the part of it that must not be in the log."""
FIELDS = (
    *("password", "passwd", "Password", "new_password", "passwords", "secret", "client_secret", "token", "csrf_token"),
    *("accessToken", "tokens", "Authorization", "Cookie", "Set-Cookie", "code", "recovery_codes", "otp", "key", "dsn"),
    *(
        "api_key",
        "X-Api-Key",
        "SECRET_KEY",
        "THROTTLE_KEY",
        "DATA_KEY",
        "DATABASE_PASSWORD",
        "JWT_KEYS",
        "totp_seed",
        "credentials",
    ),
)
"""Names of fields whose value is a secret, whatever it looks like."""


@pytest.fixture
def sql_echo() -> Iterator[None]:
    """Every statement and row in the log, as somebody does it who looks for a fault."""
    logger = logging.getLogger("sqlalchemy.engine")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


@protects("log-redaction", filter=edit("log.py", "            _redact_event,\n", ""))
@pytest.mark.usefixtures("sql_echo")
def test_signing_in_at_debug_with_sql_echo_leaves_no_secret_in_the_log(service: Service) -> None:
    service.setting("BASTION_LOG_LEVEL", "DEBUG")
    service.adds_route("/account-of-the-probe", methods=("GET", "POST"))
    service.adds_route("/failing", view=fail_with_the_request)
    user = service.user()
    client = service.client(user).login(through_form=True)
    client.get("/account-of-the-probe", query={"reset": "canary-in-a-query"})
    client.get("/account-of-the-probe", headers={"Referer": "https://app.example/?code=canary-in-a-referer"})
    client.post("/account-of-the-probe", {"text": "canary-in-a-body"})
    failed = client.get("/failing")
    with_wrong_password = service.client(user)
    with_wrong_password.user = type(user)(user.id, user.email, "canary-of-a-wrong-password")
    wrong = sign_in(with_wrong_password)
    success = [event for event in service.log if event["event"] == "login.success"]
    works(wrong == 401, "the wrong password was refused")
    works([event["user_id"] for event in success] == [str(user.id)], "the log says who signed in")
    works(len(success[0]["request_id"]) >= 32, "and in which request")
    works("SELECT auth_user" in service.output, "statements are in the log")
    works([event for event in service.log if str(event["event"]).startswith("Row ")], "and rows")
    works([event["event"] for event in failed.events if "exception" in event] == ["unhandled_exception"], "and faults")
    known = {**service.environment.secrets, **held(client), "hash": service.baseline.password_hash}
    written = [name for name, value in known.items() if value in service.output]
    harm(written, f"in the log: {', '.join(written)}")
    assert PASSWORD not in service.output
    assert "canary" not in service.output


@protects("log-redaction", patterns=edit("log.py", "    for pattern in _PATTERNS:\n", "    for pattern in ():\n"))
def test_what_looks_like_a_secret_is_not_in_the_log_whatever_its_name(service: Service) -> None:
    say = logger(service, "probe")
    say.warning("order of three apples", shelf="A-12", nested=[{"shelf": "B-7"}])
    works(logged(service) == {"event": "order of three apples", "shelf": "A-12", "nested": [{"shelf": "B-7"}]}, "said")
    for what, (text, canary) in PATTERNS.items():
        say.warning(f"a sentence with {text} in it")
        say.warning("a field", note=text, deep=[{"notes": (text,)}], other={text: 1})
        logging.getLogger("team").warning("%s and %s", text, {"note": [text]})
        harm(canary in service.output, f"{what} is in the log")
        assert "[redacted]" in str(logged(service)["event"])
    assert len(service.log) == 3 * len(PATTERNS) + 1


@protects("log-redaction", fields=edit("log.py", "REDACTED if _is_sensitive(str(k)) else redact(v)", "redact(v)"))
def test_what_is_called_a_secret_is_not_in_the_log_whatever_it_looks_like(service: Service) -> None:
    say, plain = logger(service, "probe"), logging.getLogger("team")
    say.warning("order", status_code=404, key_id="k-1", monkey="see")
    works(logged(service) == {"event": "order", "status_code": 404, "key_id": "k-1", "monkey": "see"}, "said")
    for name in FIELDS:
        say.warning("changed", **{name: "canary"})
        harm("canary" in service.output, f"the field {name} is in the log")
        assert logged(service) == {"event": "changed", name: "[redacted]"}
        say.warning("changed", **{"before": {name: "canary"}, "after": [{"x": {name: ["canary"]}}]})
        plain.warning("changed", extra={name: "canary", "headers": {name: "canary"}})
        harm("canary" in service.output, f"the field {name} of a logger of the standard library is in the log")
    assert len(service.log) == 3 * len(FIELDS) + 1


@protects(
    "log-redaction",
    args=(
        edit("log.py", "            record.args = cast(", "            cast("),
        edit("log.py", '        record.__dict__.pop("message", None)', "        pass"),
    ),
)
def test_no_argument_of_a_message_carries_a_secret_into_its_text(service: Service) -> None:
    logger(service, "probe")
    plain = logging.getLogger("team")
    before_ours = logging.StreamHandler(io.StringIO())  # formats the text, and leaves it on the record
    plain.addHandler(before_ours)
    plain.warning("%s has %d things", {"name": "ada"}, 3)
    works(logged(service)["event"] == "{'name': 'ada'} has 3 things", "arguments are formatted")
    plain.warning("%s", {"password": "canary"})
    plain.warning("%(password)s", {"password": "canary"})
    plain.warning("%s of %s", [{"api_key": "canary"}], ({"Cookie": "canary"},))
    plain.removeHandler(before_ours)
    harm("canary" in service.output, "an argument is in the log")
    assert [event["event"] for event in service.log[1:]] == [
        "{'password': '[redacted]'}",
        "[redacted]",
        "[{'api_key': '[redacted]'}] of ({'Cookie': '[redacted]'},)",
    ]


@protects("log-redaction", message=edit("log.py", "        if not isinstance(record.msg, str)", "        if False"))
def test_no_message_that_is_no_text_carries_a_secret(service: Service) -> None:
    logger(service, "probe")
    logging.getLogger("team").warning({"order": 1})
    works(logged(service)["event"] == "{'order': 1}", "whatever is logged has a text")
    logging.getLogger("team").warning({"order": 2, "password": "canary"})
    harm("canary" in service.output, "a message that is a dict is in the log as it is")
    assert logged(service)["event"] == "{'order': 2, 'password': '[redacted]'}"


@protects("log-redaction", exceptions=edit("log.py", "{name: _without_patterns(_end(", "{name: str(_end("))
def test_no_text_of_an_exception_carries_a_secret(service: Service) -> None:
    thrown: list[str] = []

    def view() -> dict[str, str]:
        if thrown:
            raise ConnectionError(thrown[-1]) from ValueError(f"because of {thrown[-1]}")
        return {}

    seen = service.adds_route("/probe", mark="public", view=view)
    client = service.client()
    works(client.get("/probe").status == 200, "the view answers")
    for what, (text, canary) in PATTERNS.items():
        thrown.append(text)
        answer = client.get("/probe")
        harm(canary in service.output, f"{what} is in the log as an exception's text")
        assert answer.status == 500
        logged_once = [event for event in answer.events if "exception" in event]
        assert [event["event"] for event in logged_once] == ["unhandled_exception"]
        assert logged_once[0]["request_id"] == answer.request_id
        assert "ValueError: because of " in logged_once[0]["exception"]
    assert len(seen) == len(PATTERNS) + 1


@protects("log-redaction", values=edit("secrets/kept.py", "        log.hide(answer.value.reveal().strip())\n", ""))
def test_no_secret_that_the_service_has_read_is_in_the_log_whatever_it_looks_like(service: Service) -> None:
    key = f"live/{secrets.token_hex(1)}+{secrets.token_hex(2)}"  # the shortest that can be no word
    service.environment.secrets.update(PARTNER_API=key, SHORT_SECRET="three")
    service.restart()
    say, plain = logger(service, "probe"), logging.getLogger("team")
    with service.app.app_context():
        read = [service.module("secrets").get(name).reveal() for name in ("PARTNER_API", "SHORT_SECRET")]
    say.warning("order of three apples")
    works((read, logged(service)["event"]) == ([key, "three"], "order of three apples"), "secrets are read, words kept")
    say.warning(f"asking with {key}", note=[f"X: {key}"], deep={key: 1})
    plain.warning("sent %s", {"headers": f"x-partner: {key}"})
    try_to_log(ValueError(f"no answer to {key}"))
    harm(key in service.output, "a key of a partner's is in the log")
    assert [event["event"] for event in service.log[-3:-1]] == [
        "asking with [redacted]",
        "sent {'headers': 'x-partner: [redacted]'}",
    ]
    assert "no answer to [redacted]" in service.log[-1]["exception"]


@protects("log-redaction", lost=edit("log.py", "    def handleError(self", "    def _ignored(self"))
def test_an_entry_that_can_not_be_written_is_not_printed_as_it_is(service: Service) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    say = logger(service, "probe")
    say.warning("order", note="fine")
    works(logged(service) == {"event": "order", "note": "fine"}, "said")
    with redirect_stderr(service.recorder):
        say.warning("order", **{"password": "canary", "note": Odd()})
    harm("canary" in service.output, "logging printed the entry itself")
    assert logged(service) == {"event": "log_entry_lost"}
    assert (service.log[-1]["level"], service.log[-1]["logger"]) == ("error", say.name)


# Each makes a pattern begin, or go on, at every few characters.
HOSTILE = (
    *(
        "-eyJ",
        "eyJ-",
        "eyJ.",
        "eyJaaaaa.",
        "eyJaaaaa.a.",
        "_eyJaaaaa-",
        ".aaaaaaaaaa",
        "aaaaaaaaaa.aaaaaa.",
        "a-",
        "a.",
    ),
    *(
        "-----BEGIN A",
        "-----BEGIN A-----",
        "-----BEGIN A-----END ",
        "-----END ",
        "$argon2",
        "$argon2a$",
        "://a",
        "://a:",
    ),
    *("://:a:", "Bearer ", "password=", "password=;", "[", "\\x00"),
)


@protects(
    "log-redaction",
    linear=edit(
        "log.py",
        "(?<![\\w-])(?=(?:[\\w-]*?[-_])?eyJ[\\w-]{5})[\\w-]++\\.[\\w-]+(",
        "\\beyJ[\\w-]{5,}\\.[\\w-]+(",
    ),
)
def test_no_text_makes_the_patterns_look_at_it_again_and_again(service: Service) -> None:
    logger(service, "probe")
    log: Any = service.module("log")
    works(JWT.rpartition(".")[2] not in log.redact(f"a {JWT} b x-{JWT}"), "tokens are still found")
    for hostile in HOSTILE:
        text = hostile * (log.LONGEST_READ // len(hostile))
        for pattern in log._PATTERNS:
            before = time.thread_time()  # of this thread alone, so that no other load counts
            pattern.sub("", text)
            seconds = time.thread_time() - before
            # Once through is some milliseconds; the square of it takes several seconds.
            harm(seconds > 1, f"{pattern.pattern!r} takes {seconds:.1f} s for 64 KiB of {hostile!r}")


@protects(
    "log-redaction",
    bound=(
        edit("log.py", "_without_patterns(_beginning(value))", "_without_patterns(value)"),
        edit("log.py", "_without_patterns(_end(str(event.pop(name))))", "_without_patterns(str(event.pop(name)))"),
    ),
)
def test_no_text_however_long_is_more_work_than_64_kib(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    say, seen = logger(service, "probe"), []
    log: Any = service.module("log")

    class Counted:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern = pattern

        def sub(self, replacement: str, text: str) -> str:
            seen.append(len(text))
            return self.pattern.sub(replacement, text)

    monkeypatch.setattr(log, "_PATTERNS", tuple(Counted(pattern) for pattern in log._PATTERNS))
    say.warning("order", note="three apples")
    works(len("three apples") in seen, "the patterns look at a value")
    seen.clear()
    for text in ("-eyJ" * 50_000, "apples and " * 20_000):  # three times the bound
        say.warning(text, note=text, deep=[{text: text.encode()}])
        logging.getLogger("team").warning("%s", text)
        try_to_log(ValueError(text))
        assert len(service.log[-1]["exception"]) <= 16_384
    harm(max(seen) > 66_000, f"the patterns looked at {max(seen)} characters at once")
    assert len(seen) > 5 * len(log._PATTERNS)


@protects(
    "log-redaction",
    edge=(
        edit("log.py", "text[:LONGEST_READ].rsplit(None, 1)[:-1]", "[text[:LONGEST_READ]]"),
        edit("log.py", '"".join(text[-LONGEST_READ:].split(None, 1)[1:])', "text[-LONGEST_READ:]"),
    ),
)
def test_no_secret_is_cut_in_half_and_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    logger(service, "probe")
    log: Any = service.module("log")
    monkeypatch.setattr(log, "LONGEST_READ", 4_096)  # the cut is the same, and most of the text is filler
    apples = "apples " * 20_000
    works(log.redact(apples).startswith("apples apples "), "the beginning of a long value is kept")
    works(log._end(apples).endswith("apples apples "), "the end of a long stack is kept")
    canary = "canary" + secrets.token_urlsafe(32)
    for what, (text, part) in {**PATTERNS, "an address": (f"postgresql://ada:{canary}@db/x", canary)}.items():
        for offset in range(0, len(text) + 1, 4):
            # Filled up with what is redacted to a few letters, so that the cut is in what would be written.
            filler = (f"{PEM} " * 2_000)[: log.LONGEST_READ - offset - 30].rpartition(" -----BEGIN")[0]
            filler += " " * (log.LONGEST_READ - offset - len(filler))
            head = log._without_patterns(log._beginning(f"{filler}{text} {apples}"))
            tail = log._without_patterns(log._end(f"{apples} {text}{' ' * (log.LONGEST_READ - offset)}"))
            for kept in (head, tail):
                harm(shared(kept, part) > 7, f"{shared(kept, part)} characters of {what} are left at the cut")


def test_what_is_kept_of_a_long_text_is_as_it_was(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    log: Any = service.module("log")
    monkeypatch.setattr(log, "LONGEST_READ", 64)
    whole, rest = "two  words " + "x" * 53, "the  cause of it".ljust(40)
    assert log._beginning(whole) == log._end(whole) == whole
    assert log._beginning(f"{whole}y") == f"two  words {log.REDACTED}"
    assert log._beginning("x" * 65) == log.REDACTED
    for cut, kept in {
        "x" * 80: "",
        "Bearer ".rjust(80) + "canary": "",  # the cut goes through the word before it
        "Bearer".rjust(80) + " " * 12: "",
        "-----BEGIN KEY-----\ncanary canary\n-----END KEY-----": "-----END KEY----- ",
    }.items():
        assert log._end(f"{cut} {rest}") == f"{log.REDACTED} {kept}{rest}", cut


def test_a_key_whose_beginning_was_cut_away_is_not_in_a_stack(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger(service, "probe")
    log: Any = service.module("log")
    monkeypatch.setattr(log, "LONGEST_READ", 4_096)
    line = f"canary{secrets.token_urlsafe(30)}\n"
    key = f"-----BEGIN PRIVATE KEY-----\n{line * 4}-----END PRIVATE KEY-----"
    for offset in range(0, len(key), 7):
        after = " the cause" + " " * (log.LONGEST_READ - offset - 20) + "at the end"
        kept = log._without_patterns(log._end(f"{'apples ' * 10_000}{key}{after}"))
        assert kept.endswith("the end")
        assert "canary" not in kept
    endless = log._end("-----BEGIN PRIVATE KEY-----\n" + line * 3_000)
    assert "canary" not in log._without_patterns(endless)


def test_no_error_that_is_behind_another_keeps_its_variables(service: Service) -> None:
    """Whoever collects errors takes them along, with the keys and passwords that stand in them."""

    def failed(name: str) -> KeyError:
        with pytest.raises(KeyError) as caught:
            fail_by(KeyError(name))
        return caught.value

    def variables(error: BaseException) -> list[str]:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        return [name for frame in frames if frame.f_code.co_name == "fail_by" for name in frame.f_locals]

    first, second, third = failed("a"), failed("b"), failed("c")
    group = ExceptionGroup("several", [failed("d"), failed("e")])
    second.__cause__, third.__context__, third.__cause__ = first, second, group
    first.__context__ = third  # a circle
    every = [first, second, third, *group.exceptions]
    assert [variables(one) for one in every] == [["error"]] * 5
    service.module("log").forget_locals(third)
    assert [variables(one) for one in every] == [[]] * 5
    assert third.__traceback__ is not None


def fail_by(error: BaseException) -> NoReturn:
    """With a variable in its frame."""
    raise error


# --- one line of JSON, to one place ----------------------------------------------------------------------------

FORGED = 'order 7\r\n{"event": "login.success", "user_id": "1"}\n\x1b[2J\x9b31m\u2028{"event": "login.success"}\u2029'
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def say_what_was_sent(service: Service, text: str) -> int:
    """Log a text in every way in which what a visitor sent gets into a log; how many entries that makes."""
    say, plain = logger(service, "probe"), logging.getLogger("team")
    say.warning("order", note=text, deep=[{"note": (text,)}], **{text: 1})
    say.warning(text)
    plain.warning(text)
    plain.warning("%s", text)
    plain.warning("order", extra={"note": text})
    try_to_log(ValueError(text))
    return 6


@protects(
    "log-json-one-line",
    format=edit("log.py", "Formatter(formatter(readable=readable))", 'Formatter(logging.Formatter("%(message)s"))'),
    terminal=edit("log.py", "processors.JSONRenderer()", "processors.JSONRenderer(ensure_ascii=False)"),
)
def test_nothing_that_was_sent_forges_an_entry_or_commands_a_terminal(service: Service) -> None:
    logger(service, "probe").warning("three apples")
    works("three apples" in service.output, "what is logged is written")
    entries = say_what_was_sent(service, FORGED)
    harm([event for event in service.log if event["event"] == "login.success"], "the log says that somebody signed in")
    harm([line for line in service.recorder.lines if CONTROL.search(line)], "a line commands its reader's terminal")
    assert len(service.recorder.lines) == len(service.log) == entries
    assert FORGED in [event["event"] for event in service.log]  # whole, once it is parsed
    assert [event["note"] for event in service.log if "note" in event] == [FORGED] * 2  # with all that belongs to it
    client = service.client(service.user())
    for name in ("User-Agent", "X-Request-ID", "Referer"):
        client.get("/\x1b[2J%0a{%22event%22:%20%22login.success%22}", headers={name: FORGED.replace("\u2028", "")[:40]})
    assert [line for line in service.recorder.lines if CONTROL.search(line)] == []
    assert len(service.recorder.lines) == len(service.log)


@protects("log-json-one-line", cut=edit("log.py", 'else text[:LONGEST_VALUE] + "…"', "else text"))
def test_no_value_fills_the_disk(service: Service) -> None:
    say = logger(service, "probe")
    say.warning("order", note="a" * 2048, pounds=1.5)
    works(logged(service)["note"] == "a" * 2048, "2 KiB of a value are kept")
    assert logged(service)["pounds"] == 1.5
    say_what_was_sent(service, "apples " * 9_000)
    longest = max(len(line) for line in service.recorder.lines)
    harm(longest > 40_000, f"one entry has {longest} characters")
    assert max(len(str(event["event"])) for event in service.log) <= 2_049


@protects("log-json-one-line", context=edit("log.py", "    if has_request_context():\n", "    if False:\n"))
def test_each_entry_of_a_request_says_when_where_and_who(service: Service) -> None:
    def view(item: str) -> dict[str, str]:
        logging.getLogger("team").warning("looked at")
        service.module("log").get_logger("probe").warning("looked at it", shelf=len(item))
        return {}

    service.adds_route("/orders/<item>", view=view)
    user = service.user()
    answer = service.client(user).login().get("/orders/canary-in-an-address", query={"canary": "1"})
    entries = [event for event in answer.events if str(event["event"]).startswith("looked at")]
    works([answer.status, len(entries)] == [200, 2], "both loggers have written")
    told = [{name: event.get(name) for name in ("method", "route", "ip", "user_id")} for event in entries]
    expected = {"method": "GET", "route": "/orders/<item>", "ip": "192.0.2.10", "user_id": str(user.id)}
    harm(told != [expected] * 2, "nobody can tell from the log who did what")
    [(session,)] = service.rows("SELECT id FROM auth_session")
    for event in entries:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["ts"])
        assert event["request_id"] == answer.request_id
        assert (event["level"], event["logger"] in ("team", "probe")) == ("warning", True)
        assert event["session"] == str(session).replace("-", "")[:8]
    assert "canary" not in service.output


@protects(
    "log-destination-fixed",
    handler=edit("guards.py", "in sorted({name for name, _handler in log.outlets() - before.outlets}):", "in ():"),
)
def test_no_handler_of_the_teams_gets_the_entries_before_secrets_are_taken_out(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logging.handlers import SocketHandler

    places = {"": logging.FileHandler(tmp_path / "app.log"), "bastion.audit": SocketHandler("127.0.0.1", 9)}
    monkeypatch.setattr(SocketHandler, "emit", lambda _self, _record: None)
    added: list[tuple[str, logging.Handler]] = []

    def add(_app: Flask) -> None:
        for name, one in added:
            logging.getLogger(name).addHandler(one)

    service.adds(add)
    works(service.start().app is not None, "a team that configures no logging starts")
    added[:] = [("a.library", logging.NullHandler())]
    works(service.start().app is not None, "so does one with a library that leaves it to others where its entries go")
    for name, one in places.items():
        added[:] = [(name, one)]
        tried = service.start()
        logging.getLogger("probe").warning("signed in", extra={"password": "canary"})
        logging.getLogger(name).removeHandler(one)
        harm(tried.app is not None, f"it started with a handler on {name or 'the root logger'}")
        assert tried.reasons == [
            f"logging: the logger {name or 'root'!r} got a handler of its own, to which entries go with the secrets in "
            "them. Collect standard output instead."
        ]
        one.close()


@protects("log-destination-fixed", silenced=edit("guards.py", "    if not log.configured():\n", "    if False:\n"))
def test_the_log_of_the_protections_is_not_turned_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    works(service.start().app is not None, "a team that configures no logging starts")

    def disabled(_app: Flask) -> None:  # what logging.config.dictConfig does to the loggers that it finds
        monkeypatch.setattr(logging.getLogger("bastion.errors"), "disabled", True)

    def propagates_no_more(_app: Flask) -> None:
        monkeypatch.setattr(logging.getLogger("bastion.errors"), "propagate", False)

    def without_handler(_app: Flask) -> None:
        monkeypatch.setattr(logging.root, "handlers", [])

    for change in (disabled, propagates_no_more, without_handler):
        service._additions[:] = [change]
        tried = service.start()
        monkeypatch.undo()
        harm(tried.app is not None, "it started, and nobody will read what was refused")
        assert tried.reasons == [
            "logging: the service's own handler was removed, or its loggers were silenced. Leave logging as it is."
        ]


def test_the_service_writes_no_file_beside_itself(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = service.client(service.user()).login()
    assert client.get("/nowhere").status == 404
    assert [client.get(path).status for path in ("/logs", "/log", "/debug")] == [404] * 3
    logging.getLogger("team").warning("here")
    assert [event["event"] for event in service.log] == ["here"]
    assert list(tmp_path.iterdir()) == []


def shared(text: str, secret: str) -> int:
    """How long a beginning or an end of the secret is in the text."""
    return max(
        length for length in range(len(secret) + 1) if not length or secret[:length] in text or secret[-length:] in text
    )


def try_to_log(error: Exception) -> None:
    """As an `except` clause of a team does it."""
    logging.getLogger("team").error("failed", exc_info=error)


def fail_with_the_request() -> NoReturn:
    """A view that fails and tells everything it knows, as a team's own exception does it sooner or later."""
    from flask import request

    raise ValueError(f"could not work with {request.headers}")


# --- helpers ---------------------------------------------------------------------------------------------------


def logger(service: Service, name: str) -> Any:
    """A logger of the service, which has started and whose log so far is forgotten."""
    service.app  # noqa: B018
    service.recorder.lines.clear()
    service.recorder.events.clear()
    return service.module("log").get_logger(name)


def logged(service: Service) -> dict[str, object]:
    """The last event, without what each has."""
    each = ("ts", "level", "logger", "request_id")
    return {name: value for name, value in service.log[-1].items() if name not in each}


def held(client: BaseClient) -> dict[str, str]:
    """Everything with which this client could be impersonated."""
    secret = dict(client.cookies)
    content: dict[str, Any] = getattr(client, "content", dict)()
    secret |= {name: value for name, value in content.items() if isinstance(value, str)}
    for name in ("cookie", "refresh_token"):
        if value := getattr(client, name, None):
            secret[name] = value
    assert secret
    return secret


def sign_in(client: BaseClient) -> int:
    """The status of a sign-in with this client's user, through the front door of the style."""
    assert client.user is not None
    path = "/login" if hasattr(client, "csrf_token") else "/auth/login"
    return client.post(path, {"identifier": client.user.email, "password": client.user.password}).status


ROUTE = "rule.rule if rule else None)  # never"


@protects("log-redaction", unknown=edit("log.py", ROUTE, ROUTE.replace("None", "request.path")))
def test_the_path_of_an_unknown_address_is_not_logged(service: Service) -> None:
    """An address that was cut or mistyped may hold a token that no pattern finds."""
    service.adds_route("/probe/<part>", mark="public")
    client, cut, twice = service.client(), TOKEN[:20], {"page": ["1", "2"]}
    [told] = client.get(f"/probe/{cut}", query=twice).events
    works(told["route"] == "/probe/<part>", "of a known address the route is logged")
    answer = client.get(f"/prboe/{cut}", query=twice)
    harm(cut in service.output, "the log holds the token in the path")
    refused(answer, 400, "duplicate-parameters-refused")
    assert [event["route"] for event in answer.events] == [None]


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------


@protects("anonymous-cost-bounded", log=edit("log.py", "    made.addFilter(Flood())\n", ""))
def test_to_be_refused_fills_no_log_and_hides_nothing_else(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service.module("log")
    most = log.MOST_A_MINUTE
    client = service.client()

    def lines(reason: str) -> int:
        return len([event for event in service.log if event.get("reason") == reason])

    def asks() -> int:
        return client.get("/", headers={"Host": "evil.example"}).status

    works([asks() for _ in range(3)] == [400] * 3, "a foreign host is refused")
    works(lines("host-header-trusted") == 3, "and each time is a line")
    statuses = {asks() for _ in range(most + 50)}
    harm(lines("host-header-trusted") > most, "a stranger fills the disk with lines")
    assert (statuses, lines("host-header-trusted"), most) == ({400}, most, 600)
    client.send("TRACE", "/")
    assert lines("methods-closed") == 1  # what is rare is not lost among it
    for seconds in (20, 20):
        service.travel(seconds=seconds)
        asks()
        assert lines("host-header-trusted") == most  # it is the same minute
    service.travel(seconds=21)
    asks()
    told = [event for event in service.log if event["event"] == "entries_left_out"]
    assert [(event["kind"], event["count"]) for event in told] == [("bastion refused host-header-trusted", 55)]
    assert lines("host-header-trusted") == most + 1
    monkeypatch.setattr(log, "MOST_A_MINUTE", 1)
    asks()
    assert lines("host-header-trusted") == most + 1
    service.travel(minutes=-5)  # a clock that is set right keeps nothing out for as long
    asks()
    assert lines("host-header-trusted") == most + 2
    told = [event for event in service.log if event["event"] == "entries_left_out"]
    assert [event["count"] for event in told] == [55, 1]


@protects(
    "anonymous-cost-bounded",
    signed_in=edit("log.py", "        if _signed_in() is not None:\n            return True\n", ""),
)
def test_a_flood_of_strangers_hides_nothing_of_a_session(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.adds_route("/probe", methods=("POST",), mark="public")
    stranger, user = service.client(), service.client(service.user()).login()
    monkeypatch.setattr(service.module("log"), "MOST_A_MINUTE", 1)
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    lines = [len(stranger.post("/probe", headers=foreign).events) for _ in range(2)]
    works(lines == [1, 0], "what strangers cause is logged up to a limit")
    answer = user.post("/probe", headers=foreign)
    harm(not answer.events, "strangers keep out of the log what was tried in a session")
    refused(answer, 403, "csrf-cross-site-blocked")


def test_what_is_new_each_time_is_counted_together(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's program may log a text that is another one each time: that takes no memory without an end either."""
    say, log = logger(service, "probe"), service.module("log")
    assert (log.MOST_KINDS, log.LONGEST_READ, log.LONGEST_VALUE, log.LONGEST_STACK) == (1_000, 65_536, 2_048, 16_384)
    for name, value in {"MOST_KINDS": 3, "MOST_A_MINUTE": 4}.items():
        monkeypatch.setattr(log, name, value)
    service.travel(minutes=2)
    for number in range(3):
        for _ in range(5):
            say.warning(f"apple {number}")
    for number in range(3, 9):
        say.warning(f"apple {number}")
    written = [str(event["event"]) for event in service.log]
    assert written == [f"apple {number}" for number in (*[0] * 4, *[1] * 4, *[2] * 4, 3, 4, 5, 6)]
    service.travel(minutes=2)
    say.warning("apple 0")
    told = {str(event["kind"]): event["count"] for event in service.log if event["event"] == "entries_left_out"}
    assert told == {"probe apple 0": 1, "probe apple 1": 1, "probe apple 2": 1, "other": 2}
    logging.getLogger("team").warning("pears %s", 1)
    logging.getLogger("team").warning("pears %s", 2)  # another line
    assert service.log[-1]["event"] == "pears 2"


def test_what_a_library_or_the_server_logs_is_json_as_well(service: Service) -> None:
    made = service.module("log").handler()
    record = logging.LogRecord("gunicorn.error", logging.INFO, __file__, 1, "Booting worker with pid: %s", (7,), None)
    assert made.filter(record)
    told = json.loads(made.format(record))
    assert (told["event"], told["logger"], told["level"]) == ("Booting worker with pid: 7", "gunicorn.error", "info")
