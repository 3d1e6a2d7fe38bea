"""Proofs of secrets/kept.py: a rotated secret is used in time, and a backend that is away is neither guessed nor fatal.

They stop a stolen and replaced key from opening on, and an outage from becoming a default value or a second outage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .environment import WHERE, Stub, stubbed
from .harness import edit, harm, protects, works
from .running import Service

if TYPE_CHECKING:
    import pytest

    from .wire import Response


NAME = "PARTNER_API_KEY"
FIRST, SECOND = "the-first-value-of-it", "the-second-value-of-it"


def adds_reader(service: Service) -> list[str]:
    """A public route that needs a secret, and tells it to the proof alone."""
    used: list[str] = []

    def view() -> str:
        used.append(service.module("secrets").get(NAME).reveal())
        return "used"

    service.adds_route("/needs-a-secret", mark="public", view=view)
    return used


def ask(service: Service) -> Response:
    return service.client().get("/needs-a-secret")


def started(service: Service, stub: Stub) -> list[str]:
    stub.values[NAME] = FIRST
    used = adds_reader(service)
    works(ask(service).status == 200, "a view uses the secret")
    works(used == [FIRST], "it is what the backend holds")
    used.clear()
    return used


@protects(
    "secret-rotation-picked-up",
    cache=edit("secrets/kept.py", "return not _within(seconds() - self.asked_at, self.pause)", "return not self.last"),
)
def test_a_value_that_was_replaced_is_not_used_after_five_minutes(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        questions = len(stub.asked)
        works(ask(service).status == 200, "it works without asking again")
        works(stub.asked[questions:].count(NAME) == 0, "the backend is not asked at each request")
        stub.values[NAME] = SECOND
        service.travel(seconds=301)
        used.clear()
        assert ask(service).status == 200
        harm(FIRST in used, "a value that was replaced is still used")
        assert used == [SECOND]


@protects(
    "secret-backend-down-at-boot",
    boot=edit("__init__.py", "    except secrets.SecretUnavailable as away:\n        reasons.append(", "    except secrets.SecretUnavailable as away:\n        [*reasons].append("),  # noqa: E501
)  # fmt: skip
def test_no_start_goes_on_without_an_answer_of_the_backend(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_hour_after_the_last_answer_nothing_stands_in_for_a_secret(service: Service) -> None:
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
