"""Unit tests beside the proofs in test_backend_gcp.py."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from ..edges.test_backend_gcp import TOKEN, TOKEN_PATH, VALUE, Google, asks, googles, query
from ..faulty_backend import Front, Mode
from ..harness import works
from ..running import Service
from ..test_backend_gcp import in_a_hurry

if TYPE_CHECKING:
    import pytest


# --- what is answered ----------------------------------------------------------------------------------------------


def test_nothing_that_fails_is_told_with_a_value_or_asked_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", ())  # one attempt
    faults: dict[Mode, str] = {
        "down": "does not answer",
        "slow": "does not answer",
        "403": "refuses this service (forbidden)",
        "500": "fails (status 500)",
        "malformed": "gave no answer of its kind",
        "redirect": "fails (status 307)",
    }
    with googles(service) as (front, _google, _secrets), Front(Google(), tls=False) as api:
        for mode, fault in faults.items():
            with monkeypatch.context() as hurried:
                if mode == "slow":  # whoever answers has his time: a busy machine needs it
                    hurried.setattr(service.module("secrets.remote"), "READ_SECONDS", 1.0)
                api.mode, front.mode = mode, "works"
                api.requests.clear()
                assert query(service, asks(service, api, front)) == ("", fault)
                assert len(api.requests) == (mode != "down")
                api.mode, front.mode = "works", mode
                assert query(service, asks(service, api, front)) == (
                    "",
                    f"can't be asked: the metadata service {fault}",
                )
    assert TOKEN not in service.output


def test_an_answer_that_is_no_secret_is_a_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    bytes_that_are_no_text = {"data": b64encode(b"\xff\xfe").decode(), "dataCrc32c": "0"}
    no_text = "gave something that is no text"
    for changed, fault in (
        ({"payload": bytes_that_are_no_text}, no_text),
        ({"payload": {"data": "not base64!", "dataCrc32c": "0"}}, no_text),
        ({"payload": None}, "gave a value that was damaged on the way"),
        ({"name": None}, "answered about another secret"),
        ({"padding": "x" * 131_072}, "gave no answer of its kind"),
    ):
        with googles(service) as (_front, google, secrets):
            google.changed = changed
            assert query(service, secrets) == ("", fault)


def test_what_is_no_token_is_sent_nowhere(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    for token, lasts in ((f"{TOKEN}\r\nX-Injected: 1", 3599), ("", 3599), ("\u00e9", 3599), (TOKEN, "an hour")):
        with googles(service) as (front, google, secrets):
            google.tokens, google.lasts = [token], lasts
            assert query(service, secrets) == ("", "can't be asked: the metadata service gave no token")
            assert {request.path for request in front.requests} == {TOKEN_PATH}


def test_a_token_is_replaced_before_it_ends(service: Service) -> None:
    with googles(service) as (front, google, secrets):
        works(secrets.get("API_KEY").reveal() == VALUE, "the first token opens it")
        asked = [request.path for request in front.requests].count(TOKEN_PATH)
        assert asked == 1
        service.travel(seconds=301)
        assert secrets.get("API_KEY").reveal() == VALUE
        assert [request.path for request in front.requests].count(TOKEN_PATH) == asked  # it still lasts
        google.tokens.append("token-of-the-next-hour")
        del google.tokens[0]
        service.travel(seconds=3240)
        assert secrets.get("API_KEY").reveal() == VALUE
        assert [request.path for request in front.requests].count(TOKEN_PATH) == asked + 1
