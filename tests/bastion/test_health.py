"""Unit tests beside the proofs in test_health.py."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ..running import Service
from ..test_health import probed

if TYPE_CHECKING:
    import pytest


def test_probes_ask_the_database_once_a_second_however_many_there_are(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, moment = list[str](), [service.now()]
    service.app  # noqa: B018
    monkeypatch.setattr(service.module("database"), "_fault", lambda *_: asked.append("once"))
    monkeypatch.setattr(service.module("clock"), "_source", lambda: moment[0])
    # At last the clock is put back.
    for passed, times in ((0.0, 1), (0.9, 1), (0.2, 2), (0.5, 2), (-0.8, 3), (-3600.0, 4)):
        moment[0] += timedelta(seconds=passed)
        assert [probed(service, "/readyz").text for _ in range(3)] == ["ready"] * 3
        assert len(asked) == times
