"""Unit tests beside the proofs in test_log.py."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path
from typing import NoReturn

import pytest

from ..running import Service
from ..test_log import logger


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


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------


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
