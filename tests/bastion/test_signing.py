"""Unit tests beside the proofs in test_signing.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..running import Service


def test_of_what_was_verified_the_oldest_goes_when_there_is_too_much(service: Service) -> None:
    verified = service.module("crypto.signing").Verified(2)
    for number, text in enumerate(("first", "second", "third")):
        verified.remember(text, number)
    assert [verified.get(text) for text in ("first", "second", "third")] == [None, 1, 2]
