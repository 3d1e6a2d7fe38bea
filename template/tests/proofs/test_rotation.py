"""Proofs of crypto/ring.py: a key rotation signs no user out, and a former key opens nothing.

They stop a rotation from being an outage, which is why it is put off for years, and a former key from opening on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .environment import stubbed
from .harness import edit, harm, protects, works
from .rings import accepts, keys_of, new_key, rotate, signed_by, signs, stolen, text_of

if TYPE_CHECKING:
    import pytest

    from .running import Service


HONOURED, PHASES = "secret-key-rotation-honoured", "secret-key-two-phase-rotation"
RING = "crypto/ring.py"
# --- secret-key-rotation-honoured --------------------------------------------------------------------------------


@protects(HONOURED, order=edit(RING, "    keys.sort(key=lambda key: STATES.index(key.status))\n", ""))
def test_a_rotation_ends_nothing_that_was_given_out_and_the_active_key_alone_signs(service: Service) -> None:
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    given = [signs(service, service.app, "first")]
    works(accepts(service, service.app, given[0]), "the service accepts a value that it signed")
    service.restart(SECRET_KEY=text_of(service, (second, "next"), (first, "active")))
    given.append(signs(service, service.app, "second"))
    harm(signed_by(given[1], second), "the service signed with a key that other processes do not know yet")
    service.restart(SECRET_KEY=text_of(service, (third, "next"), (first, "retired"), (second, "active")))
    given.append(signs(service, service.app, "third"))
    harm(signed_by(given[2], first, third), "the service signed with a retired key, or one that others do not know yet")
    assert [signed_by(text, first, second, third) for text in given] == [[first], [first], [second]]
    assert [accepts(service, service.app, text) for text in given] == [True] * 3
    service.restart(SECRET_KEY=third)
    assert [accepts(service, service.app, text) for text in given] == [False] * 3


# --- secret-key-two-phase-rotation -------------------------------------------------------------------------------


@protects(PHASES, age=edit(RING, "    if moment < known_at:\n", "    if False:\n"))
def test_a_key_that_some_process_may_not_know_is_not_activated(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stubbed(service) as stub:
        one = service.app
        strange = accepts(service, one, stolen(service, new_key()))  # after which nothing is looked up for ten seconds
        works(not strange, "a value that no known key signed is refused")
        _, published = rotate(service, monkeypatch, "session")
        works([status for _, status in keys_of(published)] == ["active", "next"], "the first step adds a next key")
        stub.values["SECRET_KEY"] = published
        code, activated = rotate(service, monkeypatch, "session")  # the second step at once
        if code == 0:
            stub.values["SECRET_KEY"] = activated
        text = signs(service, service._make(), "value")
        harm(not accepts(service, one, text), "another process refused the new signature, so users are signed out")
        assert (code, "again in " in activated) == (1, True)
