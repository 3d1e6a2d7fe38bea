"""Edges of the proofs in test_secrets_backend.py: further attacks on the same protections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, Any

from ..environment import WHERE, Stub, stubbed
from ..harness import edit, harm, protects, works
from ..running import Service
from ..test_secrets_backend import FIRST, NAME, SECOND, ask, started

if TYPE_CHECKING:
    import pytest

    pass


TOLD = "secret_backend_unavailable"


def hangs(stub: Stub) -> tuple[Event, Event]:
    """From here on it answers only after the second event; the first says that somebody is asking."""
    entered, over = Event(), Event()

    def hang() -> None:
        entered.set()
        over.wait(60)

    stub.meanwhile = hang
    return entered, over


@protects(
    "secret-rotation-picked-up",
    again=edit(
        "secrets/kept.py",
        "if kept.fault is None and not (_within(seconds() - kept.refreshed_at, AGAIN) or self._is_silent()):",
        "if True:",
    ),
)
def test_strangers_cannot_make_the_service_ask_its_backend_all_the_time(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        stub.values[NAME] = SECOND
        service.travel(seconds=11)
        works(kept.refresh(NAME) is True, "whoever meets what only a newer value explains has it at once")
        works(kept.get(NAME).reveal() == SECOND, "and it counts")
        questions = len(stub.asked)
        for _ in range(20):
            assert kept.refresh(NAME) is False
        harm(len(stub.asked) > questions, "each bad signature of a stranger is a question to the backend")
        service.travel(seconds=11)
        assert kept.refresh(NAME) is False
        assert stub.asked[questions:] == [NAME]


@protects(
    "secret-rotation-picked-up",
    moment=edit("secrets/kept.py", "_within(seconds() - kept.refreshed_at, AGAIN)", "_within(seconds() - kept.asked_at, AGAIN)"),  # noqa: E501
)  # fmt: skip
def test_no_exchange_comes_at_a_moment_when_nobody_may_ask(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        service.travel(seconds=301)
        works(kept.get(NAME).reveal() == FIRST, "the backend is asked in its turn")
        former = kept.get(NAME)
        stub.values[NAME] = SECOND
        service.travel(seconds=1)
        newer = kept.refresh(NAME, former)
        harm(not newer, "who is refused with the former value goes on with it for ten seconds")
        assert kept.get(NAME).reveal() == SECOND


@protects(
    "secret-backend-down-at-run",
    deleted=edit("secrets/kept.py", "if (answer := kept.answer) is None and _within(seconds() - kept.last_at, STALE):", "if (answer := kept.answer) is None:"),  # noqa: E501
)  # fmt: skip
def test_a_secret_that_somebody_deleted_counts_for_an_hour_and_no_longer(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        del stub.values[NAME]
        service.travel(seconds=3500)
        works(ask(service).status == 200, "a slip of the hand is no outage")
        used.clear()
        service.travel(seconds=101)
        answer = ask(service)
        harm(used, "a value that was deleted an hour ago is still used")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        stub.values[NAME] = SECOND
        service.travel(seconds=301)
        assert ask(service).status == 200
        assert used == [SECOND]


@protects(
    "secret-backend-down-at-run",
    told=edit("secrets/kept.py", "            self._warn(name, kept)\n", "            pass\n"),
)
def test_an_outage_is_told_once_a_minute_and_names_no_value(service: Service) -> None:
    def told() -> list[dict[str, Any]]:
        return [event for event in service.log if event["event"] == TOLD and event["name"] == NAME]

    with stubbed(service) as stub:
        started(service, stub)
        works(told() == [], "nothing is told while it answers")
        opened = stub.connected
        stub.goes_down()
        service.travel(seconds=301)
        for _ in range(3):
            assert ask(service).status == 200
        harm(not told(), "the service lives on its last values, and nobody knows")
        [event] = told()
        assert (event["level"], event["fault"]) == ("warning", "does not answer")
        rows = service.rows("SELECT outcome FROM audit_event WHERE kind = 'secret.backend_unavailable'")
        assert {outcome for (outcome,) in rows} == {"failure"}
        for _ in range(3):
            service.travel(seconds=31)
            assert ask(service).status == 200
        assert len(told()) == 2
        assert stub.connected > opened  # a client that failed may be broken: the next question has another
        assert FIRST not in service.output


@protects("secret-backend-down-at-run", silent=edit("secrets/kept.py", "self._silent_at = seconds()", "pass"))
def test_a_backend_that_hangs_is_waited_for_once_and_not_for_each_secret(service: Service) -> None:
    others = [f"PARTNER_{number}" for number in range(8)]
    with stubbed(service) as stub:
        started(service, stub)
        stub.values.update(dict.fromkeys(others, FIRST))
        kept = service.module("state").state_of(service.app).secrets
        works([kept.get(name).reveal() for name in others] == [FIRST] * 8, "eight more secrets are used")
        stub.goes_down()
        stub.meanwhile = lambda: setattr(stub, "clock", stub.clock + 5)
        service.travel(minutes=30)
        questions = len(stub.asked)
        read = [kept.get(name).reveal() for _ in range(3) for name in (NAME, *others)]
        harm(len(stub.asked) > questions + 1, "each secret of a service is five seconds more in which nobody is served")
        assert set(read) == {FIRST}
        service.travel(seconds=11)
        assert kept.get(others[3]).reveal() == FIRST
        assert len(stub.asked) == questions + 2
        stub.comes_back()
        stub.values[NAME] = SECOND
        service.travel(seconds=11)
        assert kept.get(NAME).reveal() == SECOND


@protects(
    "secret-backend-down-at-run",
    waits=edit("secrets/kept.py", "return not self.counts() or (old and self.fault is None)", "return True"),
)
def test_nobody_but_one_waits_for_a_backend_that_hangs(service: Service) -> None:
    with stubbed(service) as stub, ThreadPoolExecutor(2) as threads:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        service.travel(seconds=301)
        entered, over = hangs(stub)
        one = threads.submit(kept.get, NAME)
        works(entered.wait(60), "one of them asks")
        other = threads.submit(kept.get, NAME)
        waited = wait([other], timeout=5).not_done
        over.set()
        works(one.result().reveal() == FIRST, "the one who asked has the answer")
        harm(waited, "everybody waits for a backend that hangs, although there is a value that counts")
        assert other.result().reveal() == FIRST


@protects(
    "secret-backend-down-at-boot",
    boot=edit("__init__.py", "    except secrets.SecretUnavailable as away:\n        reasons.append(", "    except secrets.SecretUnavailable as away:\n        [*reasons].append("),  # noqa: E501
)  # fmt: skip
def test_no_start_goes_on_without_an_answer_about_each_secret(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stubbed(service) as stub:
        stub.goes_down(times=1)
        works(service.start().app is not None, "an outage of a moment is waited for")
        names = ("DATA_KEY_FALLBACKS", "SMTP_PASSWORD", *service.environment.secrets)
        for name in names:
            stub.goes_down("refuses this service (forbidden)", only=name)
            stub.asked.clear()
            tried = service.start()
            harm(tried.app is not None, f"it started without knowing {name}")
            assert tried.reasons == [
                f"SECRET {name!r} can't be read: {WHERE} refuses this service (forbidden). "
                "Check that it runs, its address, and what this service may read there."
            ]
            assert stub.asked[-5:] == [name, "waited 0.2", name, "waited 0.8", name]
        stub.goes_down()
        assert service.start().app is None
        asked, wrong = len(stub.asked), "BASTION_VAULT: its address could be anybody's."
        monkeypatch.setattr(service.module("chosen").backend, "check", lambda *_, **_mode: iter([wrong]))
        assert service.start(BASTION_QQQQQQQQQQQQ="1").reasons == [
            "BASTION_QQQQQQQQQQQQ is not a setting. Remove it.",
            wrong,
        ]
        assert len(stub.asked) == asked  # what could be somebody else is asked for nothing


@protects(
    "secret-backend-down-at-run",
    stale=edit("secrets/kept.py", "        if not kept.counts():\n", "        if False:\n"),
    empty=edit("secrets/kept.py", "            raise SecretUnavailable(name, self.where, kept.fault or \"does not answer\")\n        return kept", '            return replace(kept, answer=Found(Secret("")))\n        return kept'),  # noqa: E501
)  # fmt: skip
def test_an_outage_is_survived_for_an_hour_and_ends_without_a_restart(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        stub.goes_down()
        for seconds in (0, 301, 3199):
            service.travel(seconds=seconds)
            works(ask(service).status == 200, f"{seconds} s more into an outage the last value counts")
        works(set(used) == {FIRST}, "and it is the one that was read")
        used.clear()
        service.travel(seconds=101)
        answers = [ask(service) for _ in range(3)]
        harm(used, f"a view went on with {used!r} an hour after the last answer")
        assert {(answer.status, answer.header("Retry-After")) for answer in answers} == {(503, "5")}
        assert FIRST not in service.output
        stub.comes_back()
        service.travel(seconds=11)
        assert ask(service).status == 200
        assert used == [FIRST]
