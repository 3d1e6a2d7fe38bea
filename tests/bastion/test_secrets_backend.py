"""Unit tests beside the proofs in test_secrets_backend.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Event
from typing import Any

from ..edges.test_secrets import hangs
from ..environment import WHERE, stubbed
from ..running import Service
from ..test_secrets import FIRST, NAME, SECOND, ask, started


def test_threads_that_read_while_it_is_rotated_see_one_value_or_the_other(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        written, over, reads = {FIRST}, Event(), [0] * 4

        def read(number: int) -> set[str]:
            seen: set[str] = set()
            while not over.is_set():
                seen.add(kept.get(NAME).reveal())
                reads[number] += 1
            return seen

        with ThreadPoolExecutor(4) as threads:
            running = [threads.submit(read, number) for number in range(4)]
            for number in range(4):  # in each, every thread reads while it is replaced
                stub.values[NAME] = f"value-number-{number}"
                written.add(stub.values[NAME])
                service.travel(seconds=301)
                assert kept.get(NAME).reveal() in written
                before = [*reads]
                while not all(now > then for now, then in zip(reads, before, strict=True)) and not over.wait(0.001):
                    assert not any(one.done() for one in running)  # one that failed reads no more
            over.set()
        seen = set[str]().union(*(one.result() for one in running))
    assert seen
    assert seen <= written


def test_what_nobody_has_asked_for_in_long_is_waited_for(service: Service) -> None:
    with stubbed(service) as stub, ThreadPoolExecutor(2) as threads:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        stub.values[NAME] = SECOND
        service.travel(seconds=400)
        entered, over = hangs(stub)
        one = threads.submit(kept.get, NAME)
        assert entered.wait(60)
        other = threads.submit(kept.get, NAME)
        assert wait([other], timeout=0.2).not_done  # a value of long ago may have been replaced since
        over.set()
        assert [thread.result().reveal() for thread in (one, other)] == [SECOND, SECOND]


def test_a_value_that_ends_soon_is_asked_for_when_a_third_of_its_time_is_over(service: Service) -> None:
    service.stop_time()
    with stubbed(service) as stub:
        stub.values["LEASED"], fetch, lasts = "a value with an end", stub._fetch, 30.0

        def ends(name: str) -> Any:
            return replace(fetch(name), ends_at=service.now().timestamp() + lasts)

        stub._fetch = ends  # type: ignore[method-assign]
        kept = stub.secrets()
        for seconds, times in ((0, 1), (9, 1), (2, 2)):
            service.travel(seconds=seconds)
            assert kept.get("LEASED").reveal() == "a value with an end"
            assert stub.asked.count("LEASED") == times
        lasts = 0.9
        service.travel(seconds=31)
        for _ in range(3):
            kept.get("LEASED")
            service.travel(seconds=0.4)
        assert stub.asked.count("LEASED") == 3  # what is over at once is no question at each use


def test_a_name_that_is_refused_at_once_silences_no_other(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        stub.values["PARTNER"] = FIRST
        kept = service.module("state").state_of(service.app).secrets
        assert kept.get("PARTNER").reveal() == FIRST
        stub.goes_down("refuses", only="PARTNER")
        stub.meanwhile = lambda: setattr(stub, "clock", stub.clock + 0.1)
        stub.values[NAME] = SECOND
        service.travel(seconds=301)
        assert (kept.get("PARTNER").reveal(), kept.get(NAME).reveal()) == (FIRST, SECOND)


def test_the_thread_of_the_mails_asks_so_that_no_request_has_to(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        service.travel(seconds=301)
        questions = len(stub.asked)
        kept.renew()
        assert {*stub.asked[questions:]} >= {NAME, "SECRET_KEY", "DATA_KEY"}
        questions = len(stub.asked)
        assert ask(service).status == 200
        assert stub.asked[questions:] == []
        stub.goes_down()
        service.travel(seconds=301)
        kept.renew()
        service.travel(seconds=3601)
        kept.renew()  # nobody is there to whom a secret that has ended could be refused


def test_the_list_of_secrets_goes_on_behind_one_that_can_not_be_read(service: Service) -> None:
    with stubbed(service) as stub:
        stub.values, fetch = {"A": FIRST, "B": FIRST}, stub._fetch
        stub._fetch = lambda name: (found := fetch(name)) and replace(found, version="7" * 32)  # type: ignore[method-assign]
        stub.goes_down("refuses", only="B")
        names = {"A": "does", "B": "does", "C": "does"}
        table = [*service.module("commands.secrets").lines(stub.secrets(), names, {})]
    assert [line.split()[:3] for line in table[2::2]] == [
        ["A", "present", "7" * 12],
        ["B", "away", "-"],
        ["C", "absent", "-"],
    ]
    assert table[4].endswith(f"{WHERE} refuses")
