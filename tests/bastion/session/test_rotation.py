"""Unit tests beside the proofs in test_rotation.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...environment import stubbed
from ...rings import KNOWN, keys_of, rotate
from ...session_client import FIELD

if TYPE_CHECKING:
    import pytest

    from ...running import Service


def test_whoever_meets_two_processes_in_turn_notices_nothing_of_a_rotation(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    with stubbed(service) as stub:
        apps = [service.app]
        service.travel(seconds=140)  # they ask the backend at different moments from here on
        apps.append(service._make())
        browser = service.client(service.user()).login()
        open_form, first = browser.csrf_token(), stub.values["SECRET_KEY"]
        asked = 0
        for _ in range(4):  # published, activated, and the same once more
            code, text = rotate(service, monkeypatch, "session")
            assert code == 0
            stub.values["SECRET_KEY"] = text
            for _ in range(KNOWN // 60 + 1):
                service.travel(seconds=60)
                for app in (*apps, apps[0]):
                    service.app = app
                    browser.cookie = browser.cookie  # the next form is of this process
                    answers = browser.get("/bare"), browser.post("/bare", {FIELD: open_form}), browser.post("/bare")
                    assert [answer.status for answer in answers] == [200] * 3
                    asked += 3
        assert len(seen) == asked == 252
        states = {status: key for key, status in keys_of(text)}
        assert sorted(status for _, status in keys_of(text)) == ["active", "retired", "retired"]
        assert (first, "retired") in keys_of(text)
        assert [app.config["SECRET_KEY"] for app in apps] == [states["active"]] * 2
        assert first in apps[0].config["SECRET_KEY_FALLBACKS"]
