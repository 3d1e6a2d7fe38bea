"""Edges of the proofs in test_log.py: further attacks on the same protections."""

from __future__ import annotations

import io
import logging
import re
import secrets
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..harness import edit, harm, protects, refused, works
from ..running import Service
from ..test_log import CONTROL, FORGED, logger

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
        "DATA_KEY",
        "DATABASE_PASSWORD",
        "JWT_KEYS",
        "totp_seed",
        "credentials",
    ),
)
"""Names of fields whose value is a secret, whatever it looks like."""


@protects(
    "log-redaction", patterns=edit("log/__init__.py", "    for pattern in _PATTERNS:\n", "    for pattern in ():\n")
)
def test_values_that_look_like_secrets_are_redacted(service: Service) -> None:
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


@protects(
    "log-redaction", fields=edit("log/__init__.py", "REDACTED if _is_sensitive(str(k)) else redact(v)", "redact(v)")
)
def test_fields_with_secret_names_are_redacted(service: Service) -> None:
    say, plain = logger(service, "probe"), logging.getLogger("team")
    say.warning("order", status_code=404, key_id="k-1", monkey="see")
    works(logged(service) == {"event": "order", "status_code": 404, "key_id": "k-1", "monkey": "see"}, "said")
    for name in FIELDS:
        say.warning("changed", **{name: "canary"})
        harm("canary" in service.output, f"the log contains the field {name}")
        assert logged(service) == {"event": "changed", name: "[redacted]"}
        say.warning("changed", **{"before": {name: "canary"}, "after": [{"x": {name: ["canary"]}}]})
        plain.warning("changed", extra={name: "canary", "headers": {name: "canary"}})
        harm("canary" in service.output, f"the log contains the field {name} of a standard-library logger")
    assert len(service.log) == 3 * len(FIELDS) + 1


@protects(
    "log-redaction",
    args=(
        edit("log/__init__.py", "            record.args = cast(", "            cast("),
        edit("log/__init__.py", '        record.__dict__.pop("message", None)', "        pass"),
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
    harm("canary" in service.output, "the log contains an argument")
    assert [event["event"] for event in service.log[1:]] == [
        "{'password': '[redacted]'}",
        "[redacted]",
        "[{'api_key': '[redacted]'}] of [{'Cookie': '[redacted]'}]",
    ]


@protects(
    "log-redaction", message=edit("log/__init__.py", "        if not isinstance(record.msg, str)", "        if False")
)
def test_no_message_that_is_no_text_carries_a_secret(service: Service) -> None:
    logger(service, "probe")
    logging.getLogger("team").warning({"order": 1})
    works(logged(service)["event"] == "{'order': 1}", "a message that is no text is logged as text")
    logging.getLogger("team").warning({"order": 2, "password": "canary"})
    harm("canary" in service.output, "the log contains an unredacted dict message")
    assert logged(service)["event"] == "{'order': 2, 'password': '[redacted]'}"


@protects("log-redaction", exceptions=edit("log/__init__.py", "_without_patterns(text[-LONGEST_READ:])", "text"))
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
def test_secrets_that_the_service_has_read_are_redacted(service: Service) -> None:
    key = f"live/{secrets.token_hex(1)}+{secrets.token_hex(2)}"  # the shortest that can be no word
    service.environment.secrets.update(PARTNER_API=key, SHORT_SECRET="three")
    service.restart()
    say, plain = logger(service, "probe"), logging.getLogger("team")
    with service.app.app_context():
        read = [service.module("secrets").get(name).reveal() for name in ("PARTNER_API", "SHORT_SECRET")]
    say.warning("order of three apples")
    works((read, logged(service)["event"]) == ([key, "three"], "order of three apples"), "secrets read, words kept")
    say.warning(f"asking with {key}", note=[f"X: {key}"], deep={key: 1})
    plain.warning("sent %s", {"headers": f"x-partner: {key}"})
    try_to_log(ValueError(f"no answer to {key}"))
    harm(key in service.output, "the log contains a partner's key")
    assert [event["event"] for event in service.log[-3:-1]] == [
        "asking with [redacted]",
        "sent {'headers': 'x-partner: [redacted]'}",
    ]
    assert "no answer to [redacted]" in service.log[-1]["exception"]


@protects("log-redaction", lost=edit("log/__init__.py", "    def handleError(self", "    def _ignored(self"))
def test_an_unwritable_entry_is_not_printed_unredacted(service: Service) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    say = logger(service, "probe")
    say.warning("order", note="fine")
    works(logged(service) == {"event": "order", "note": "fine"}, "a valid entry is logged")
    with redirect_stderr(service.recorder):
        say.warning("order", **{"password": "canary", "note": Odd()})
    harm("canary" in service.output, "logging printed the unredacted entry")
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
        "log/__init__.py",
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
            before = time.thread_time()  # only of this thread, so that no other load counts
            pattern.sub("", text)
            seconds = time.thread_time() - before
            # Once through is some milliseconds; the square of it takes several seconds.
            harm(seconds > 1, f"{pattern.pattern!r} takes {seconds:.1f} s for 64 KiB of {hostile!r}")


@protects(
    "log-redaction",
    bound=(
        edit("log/__init__.py", "_without_patterns(value[:LONGEST_READ])", "_without_patterns(value)"),
        edit("log/__init__.py", "_without_patterns(text[-LONGEST_READ:])", "_without_patterns(text)"),
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
    works(len("three apples") in seen, "the patterns scan a value")
    seen.clear()
    for text in ("-eyJ" * 50_000, "apples and " * 20_000):  # three times the bound
        say.warning(text, note=text, deep=[{text: text.encode()}])
        logging.getLogger("team").warning("%s", text)
        try_to_log(ValueError(text))
        assert len(service.log[-1]["exception"]) <= 16_384
    harm(max(seen) > 66_000, f"the patterns scanned {max(seen)} characters at once")
    assert len(seen) > 5 * len(log._PATTERNS)


@protects(
    "log-redaction",
    edge=(
        edit("log/__init__.py", "text = text[:-LONGEST_SECRET]", "text = text[:]"),
        edit("log/__init__.py", "cut = LONGEST_SECRET if len(text) > LONGEST_READ else 0", "cut = 0"),
    ),
)
def test_no_secret_is_cut_in_half_and_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    logger(service, "probe")
    log: Any = service.module("log")
    monkeypatch.setattr(log, "LONGEST_READ", 4_096)  # the cuts are the same, and most of the text is filler
    monkeypatch.setattr(log, "LONGEST_SECRET", 512)

    def stack(text: str) -> str:
        return str(log._redact_event(None, "", {"exception": text})["exception"])

    apples = "apples " * 20_000
    works(log.redact(apples).startswith("apples apples "), "the beginning of a long value is kept")
    works(stack(apples).endswith("apples apples "), "the end of a long stack is kept")
    canary = "canary" + secrets.token_urlsafe(32)
    for what, (text, part) in {**PATTERNS, "an address": (f"postgresql://ada:{canary}@db/x", canary)}.items():
        for offset in range(0, len(text) + 1, 4):
            # Filled up with text that is redacted to a few letters, so that the cut falls into the written part.
            filler = (f"{PEM} " * 2_000)[: log.LONGEST_READ - offset - 30].rpartition(" -----BEGIN")[0]
            filler += " " * (log.LONGEST_READ - offset - len(filler))
            head = log.redact(f"{filler}{text} {apples}")
            tail = stack(f"{apples} {text}{' ' * (log.LONGEST_READ - offset)}")
            for kept in (head, tail):
                harm(shared(kept, part) > 7, f"{shared(kept, part)} characters of {what} remain at the cut")


# --- one line of JSON, to one place ----------------------------------------------------------------------------


@protects("log-json-one-line", cut=edit("log/__init__.py", 'else text[:LONGEST_VALUE] + "…"', "else text"))
def test_no_value_fills_the_disk(service: Service) -> None:
    say = logger(service, "probe")
    say.warning("order", note="a" * 2048, pounds=1.5)
    works(logged(service)["note"] == "a" * 2048, "2 KiB of a value are kept")
    assert logged(service)["pounds"] == 1.5
    say_what_was_sent(service, "apples " * 9_000)
    longest = max(len(line) for line in service.recorder.lines)
    harm(longest > 40_000, f"one entry has {longest} characters")
    assert max(len(str(event["event"])) for event in service.log) <= 2_049


@protects("log-json-one-line", context=edit("log/__init__.py", "    if has_request_context():\n", "    if False:\n"))
def test_each_entry_of_a_request_says_when_where_and_who(service: Service) -> None:
    def view(item: str) -> dict[str, str]:
        logging.getLogger("team").warning("looked at")
        service.module("log").get_logger("probe").warning("looked at it", shelf=len(item))
        return {}

    service.adds_route("/orders/<item>", view=view)
    user = service.user()
    answer = service.client(user).login().get("/orders/canary-in-an-address", query={"canary": "1"})
    entries = [event for event in answer.events if str(event["event"]).startswith("looked at")]
    works([answer.status, len(entries)] == [200, 2], "both loggers write")
    logged = [{name: event.get(name) for name in ("method", "route", "ip", "user_id")} for event in entries]
    expected = {"method": "GET", "route": "/orders/<item>", "ip": "192.0.2.10", "user_id": str(user.id)}
    harm(logged != [expected] * 2, "the log does not say which user and request caused an entry")
    [(session,)] = service.rows("SELECT id FROM auth_session")
    for event in entries:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["ts"])
        assert event["request_id"] == answer.request_id
        assert (event["level"], event["logger"] in ("team", "probe")) == ("warning", True)
        assert event["session"] == str(session).replace("-", "")[:8]
    assert "canary" not in service.output


@protects(
    "log-destination-fixed", silenced=edit("start/guards.py", "    if not log.configured():\n", "    if False:\n")
)
def test_the_log_of_the_protections_is_not_turned_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    works(service.start().app is not None, "the service starts without logging configuration")

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
        harm(tried.app is not None, "the service started with its security log switched off")
        assert tried.reasons == [
            "logging: the service's own handler was removed, or its loggers were silenced. Leave logging as it is."
        ]


def shared(text: str, secret: str) -> int:
    """Return the length of the secret's beginning or end in the text."""
    return max(
        length for length in range(len(secret) + 1) if not length or secret[:length] in text or secret[-length:] in text
    )


# --- helpers ---------------------------------------------------------------------------------------------------


def logged(service: Service) -> dict[str, object]:
    """Return the last event without the fields of every entry."""
    each = ("ts", "level", "logger", "request_id")
    return {name: value for name, value in service.log[-1].items() if name not in each}


ROUTE = "rule.rule if rule else None)  # never"


@protects("log-redaction", unknown=edit("log/__init__.py", ROUTE, ROUTE.replace("None", "request.path")))
def test_the_path_of_an_unknown_address_is_not_logged(service: Service) -> None:
    """A truncated or mistyped URL may hold a token that no pattern finds."""
    service.adds_route("/probe/<part>", mark="public")
    client, cut, twice = service.client(), TOKEN[:20], {"page": ["1", "2"]}
    [logged] = client.get(f"/probe/{cut}", query=twice).events
    works(logged["route"] == "/probe/<part>", "the log has the route of a known URL")
    answer = client.get(f"/prboe/{cut}", query=twice)
    harm(cut in service.output, "the log contains the token in the path")
    refused(answer, 400, "duplicate-parameters-refused")
    assert [event["route"] for event in answer.events] == [None]


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------


@protects("anonymous-cost-bounded", log=edit("log/__init__.py", "    made.addFilter(Flood())\n", ""))
def test_to_be_refused_fills_no_log_and_hides_nothing_else(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service.module("log")
    most = log.MOST_A_MINUTE
    client = service.client()

    def lines(reason: str) -> int:
        return len([event for event in service.log if event.get("reason") == reason])

    def asks() -> int:
        return client.get("/", headers={"Host": "evil.example"}).status

    works([asks() for _ in range(3)] == [400] * 3, "a foreign host is refused")
    works(lines("host-header-trusted") == 3, "each refusal is logged")
    statuses = {asks() for _ in range(most + 50)}
    harm(lines("host-header-trusted") > most, "a stranger fills the disk with log lines")
    assert (statuses, lines("host-header-trusted"), most) == ({400}, most, 600)
    client.send("TRACE", "/")
    assert lines("methods-closed") == 1  # a rare entry is not lost among them
    for seconds in (20, 20):
        service.travel(seconds=seconds)
        asks()
        assert lines("host-header-trusted") == most  # it is the same minute
    service.travel(seconds=21)
    asks()
    logged = [event for event in service.log if event["event"] == "entries_left_out"]
    assert [(event["kind"], event["count"]) for event in logged] == [("bastion refused host-header-trusted", 55)]
    assert lines("host-header-trusted") == most + 1
    monkeypatch.setattr(log, "MOST_A_MINUTE", 1)
    asks()
    assert lines("host-header-trusted") == most + 1
    service.travel(minutes=-5)  # a clock that is set right keeps nothing out for as long
    asks()
    assert lines("host-header-trusted") == most + 2
    logged = [event for event in service.log if event["event"] == "entries_left_out"]
    assert [event["count"] for event in logged] == [55, 1]


@protects(
    "anonymous-cost-bounded",
    signed_in=edit("log/__init__.py", "        if _signed_in() is not None:\n            return True\n", ""),
)
def test_a_flood_of_strangers_hides_nothing_of_a_session(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.adds_route("/probe", methods=("POST",), mark="public")
    stranger, user = service.client(), service.client(service.user()).login()
    monkeypatch.setattr(service.module("log"), "MOST_A_MINUTE", 1)
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    lines = [len(stranger.post("/probe", headers=foreign).events) for _ in range(2)]
    works(lines == [1, 0], "strangers' refusals are logged up to a limit")
    answer = user.post("/probe", headers=foreign)
    harm(not answer.events, "strangers' refusals displaced an event of a session")
    refused(answer, 403, "csrf-cross-site-blocked")


def say_what_was_sent(service: Service, text: str) -> int:
    """Log a text in every way in which client input reaches a log; return the number of entries."""
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
    format=edit(
        "log/__init__.py", "Formatter(formatter(readable=readable))", 'Formatter(logging.Formatter("%(message)s"))'
    ),
    terminal=edit("log/__init__.py", "processors.JSONRenderer()", "processors.JSONRenderer(ensure_ascii=False)"),
)
def test_client_input_forges_no_entry_and_no_terminal_command(service: Service) -> None:
    logger(service, "probe").warning("three apples")
    works("three apples" in service.output, "a log entry is written")
    entries = say_what_was_sent(service, FORGED)
    harm([event for event in service.log if event["event"] == "login.success"], "a client forged a login event")
    harm([line for line in service.recorder.lines if CONTROL.search(line)], "a log line contains control characters")
    assert len(service.recorder.lines) == len(service.log) == entries
    assert FORGED in [event["event"] for event in service.log]  # whole, once it is parsed
    assert [event["note"] for event in service.log if "note" in event] == [FORGED] * 2  # with all that belongs to it
    client = service.client(service.user())
    for name in ("User-Agent", "X-Request-ID", "Referer"):
        client.get("/\x1b[2J%0a{%22event%22:%20%22login.success%22}", headers={name: FORGED.replace("\u2028", "")[:40]})
    assert [line for line in service.recorder.lines if CONTROL.search(line)] == []
    assert len(service.recorder.lines) == len(service.log)


@protects(
    "log-destination-fixed",
    handler=edit(
        "start/guards.py", "in sorted({name for name, _handler in log.outlets() - before.outlets}):", "in ():"
    ),
)
def test_no_handler_gets_unredacted_entries(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logging.handlers import SocketHandler

    places = {"": logging.FileHandler(tmp_path / "app.log"), "bastion.audit": SocketHandler("127.0.0.1", 9)}
    monkeypatch.setattr(SocketHandler, "emit", lambda _self, _record: None)
    added: list[tuple[str, logging.Handler]] = []

    def add(_app: Flask) -> None:
        for name, one in added:
            logging.getLogger(name).addHandler(one)

    service.adds(add)
    works(service.start().app is not None, "the service starts without logging configuration")
    added[:] = [("a.library", logging.NullHandler())]
    works(service.start().app is not None, "so does one with a library whose logger has a NullHandler")
    for name, one in places.items():
        added[:] = [(name, one)]
        tried = service.start()
        logging.getLogger("probe").warning("signed in", extra={"password": "canary"})
        logging.getLogger(name).removeHandler(one)
        harm(tried.app is not None, f"the service started with a handler on {name or 'the root logger'}")
        assert tried.reasons == [
            f"logging: the logger {name or 'root'!r} got a handler of its own, to which entries go with the secrets in "
            "them. Collect standard output instead."
        ]
        one.close()


def try_to_log(error: Exception) -> None:
    """Log as an `except` clause of a team does."""
    logging.getLogger("team").error("failed", exc_info=error)
