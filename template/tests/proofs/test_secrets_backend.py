"""Proofs of secrets/kept.py: a rotated secret is used in time, and a backend that is away is neither guessed nor fatal.

They stop a stolen and replaced key from opening on, and an outage from becoming a default value or a second outage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .environment import WHERE, Stub, stubbed
from .harness import edit, harm, protects, works
from .running import Service

if TYPE_CHECKING:
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
def test_no_start_goes_on_without_an_answer_of_the_backend(service: Service) -> None:
    with stubbed(service) as stub:
        stub.goes_down(times=1)
        works(service.start().app is not None, "an outage of a moment is waited for")
        stub.goes_down("refuses this service (forbidden)", only="SMTP_PASSWORD")
        tried = service.start()
        harm(tried.app is not None, "it started without knowing SMTP_PASSWORD")
        told = f"SECRET 'SMTP_PASSWORD' can't be read: {WHERE} refuses this service (forbidden)"
        assert [reason.partition(". ")[0] for reason in tried.reasons] == [told]


@protects(
    "secret-backend-down-at-run",
    stale=edit("secrets/kept.py", "        if not kept.counts():\n", "        if False:\n"),
)
def test_an_hour_after_the_last_answer_nothing_stands_in_for_a_secret(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        stub.goes_down()
        service.travel(seconds=3500)
        works(ask(service).status == 200, "the last value counts for an hour")
        used.clear()
        service.travel(seconds=101)
        answer = ask(service)
        harm(used, f"a view went on with {used!r} an hour after the last answer")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
