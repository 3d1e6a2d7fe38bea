"""Edges of the proofs in test_rotation.py: further attacks on the same protections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

from ..environment import stubbed
from ..harness import edit, harm, protects, works
from ..rings import KNOWN, accepts, keys_of, new_key, rotate, signed_by, signs, stolen, text_of
from ..test_rotation import HONOURED, PHASES, RING
from .test_crypto import Vault, outcome, reencrypt

if TYPE_CHECKING:
    import pytest

    from ..running import Service


DAY = 86_400
SPREAD = 600  # seconds: see crypto/ring.py
# --- secret-key-rotation-honoured --------------------------------------------------------------------------------


@protects(HONOURED, retired=edit(RING, " or key.since > counts_since)", " or key)"))
def test_a_retired_key_expires_with_its_last_signature(service: Service) -> None:
    former, active = new_key(), new_key()
    service.restart(SECRET_KEY=text_of(service, (former, "retired"), (active, "active")))
    for seconds in (0, DAY + SPREAD - 60):
        service.travel(seconds=seconds)
        works(accepts(service, service.app, stolen(service, former)), "a retired key is valid for a day")
    service.travel(seconds=61)
    harm(accepts(service, service.app, stolen(service, former)), "a stolen retired key is valid without end")
    assert accepts(service, service.app, stolen(service, active))


# --- secret-key-two-phase-rotation -------------------------------------------------------------------------------


@protects(
    PHASES,
    removed=edit(
        RING,
        "            return parse(name, text)\n",
        "            new, was = parse(name, text), known[1].keys if known else ()\n"
        "            return Ring(new.purpose, (*new.keys, *was))\n",
    ),
)
def test_a_key_that_was_taken_out_is_refused_by_every_process(service: Service) -> None:
    with stubbed(service) as stub:
        leaked, other = stub.values["SECRET_KEY"], new_key()
        one, two = service.app, service._make()
        works(accepts(service, one, signs(service, two, "value")), "processes accept each other's signatures")
        works(accepts(service, one, stolen(service, leaked)), "a removed key's signature is valid before the removal")
        stub.values["SECRET_KEY"] = other
        service.travel(seconds=301)
        taken = [app for app in (one, two) if accepts(service, app, stolen(service, leaked))]
        harm(taken, "a stolen key is still valid after its removal")
        assert accepts(service, one, signs(service, two, "value"))
        assert signed_by(signs(service, one, "value"), other)


@protects(PHASES, reread=edit(RING, "            self._secrets.refresh(name)\n", ""))
def test_what_an_unknown_key_has_signed_is_looked_up_once_more(service: Service) -> None:
    with stubbed(service) as stub:
        one, fresh = service.app, new_key()
        works(accepts(service, one, signs(service, one, "value")), "a process accepts its own signature")
        service.travel(seconds=11)
        stub.values["SECRET_KEY"] = fresh  # exchanged by hand, in a hurry
        two = service._make()
        honest = signs(service, two, "value")
        lost = [text for text in [honest] if not accepts(service, one, text)]
        harm(lost, "another process's signature is refused for five minutes, so users are signed out")
        questions = len(stub.asked)
        assert [accepts(service, one, stolen(service, new_key())) for _ in range(20)] == [False] * 20
        assert stub.asked[questions:] == []
        service.travel(seconds=11)
        assert [accepts(service, one, stolen(service, new_key())) for _ in range(20)] == [False] * 20
        assert stub.asked[questions:] == ["SECRET_KEY"]


class Door:
    """The lock of the secrets, which signals when a request waits for it."""

    def __init__(self, real: Any, came: Event) -> None:
        self._real, self._came = real, came

    def __enter__(self) -> None:
        self._came.set()
        self._real.acquire()

    def __exit__(self, *_error: object) -> None:
        self._real.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@protects(
    PHASES,
    together=edit(
        "secrets/kept.py",
        "if before is None or before.fault is not None:",
        "if before is None or self._lock.locked() or before.fault is not None:",
    ),
)
def test_requests_with_an_unknown_key_share_one_refresh(service: Service) -> None:
    with stubbed(service) as stub:
        one, fresh = service.app, new_key()
        works(accepts(service, one, signs(service, one, "value")), "a process accepts its own signature")
        service.travel(seconds=301)  # it was idle: the next one asks
        stub.values["SECRET_KEY"] = fresh
        honest = signs(service, service._make(), "value")
        asking, answer, came = Event(), Event(), Event()
        kept: Any = service.module("state").state_of(one).secrets

        def slowly() -> None:
            asking.set()
            answer.wait(timeout=30)

        stub.meanwhile = slowly
        with ThreadPoolExecutor(2) as threads:
            asks = threads.submit(accepts, service, one, honest)
            assert asking.wait(timeout=30)
            kept._lock = Door(kept._lock, came)
            meets = threads.submit(accepts, service, one, honest)
            meets.add_done_callback(lambda _: came.set())
            assert came.wait(timeout=30)  # it waits, or it is done
            early = outcome(lambda: meets.result(timeout=0))
            answer.set()
            found = [asks.result(timeout=30), meets.result(timeout=30)]
        harm(early is False, "a request that waited for the key refresh was refused")
        assert isinstance(early, TimeoutError)
        assert found == [True, True]


@protects(
    PHASES,
    usable=edit(RING, "    if fault := weakness(key.text):\n", "    if (fault := weakness(key.text)) and False:\n"),
)
def test_a_text_that_is_no_ring_leaves_the_keys_as_they_are(service: Service) -> None:
    with stubbed(service) as stub:
        before, app = stub.values["SECRET_KEY"], service.app
        works(signed_by(signs(service, app, "value"), before), "the service signs with its key")
        guessed = "changeme-" * 5
        for text in (guessed, '{"keys": []}', '{"keys"', text_of(service, (new_key(), "next"))):
            stub.values["SECRET_KEY"] = text
            service.travel(seconds=301)
            given = signs(service, app, "value")
            harm(signed_by(given, guessed), "the service signs with a guessable text stored by mistake")
            assert signed_by(given, before)
            assert accepts(service, app, stolen(service, text)) is False
        logged = [event for event in service.log if event["event"] == "key_ring_not_changed"]
        assert [(event["name"], event["level"]) for event in logged] == [("SECRET_KEY", "error")] * 4
        assert logged[0]["fault"] == "SECRET_KEY is a placeholder"
        assert guessed not in service.output


# --- data ----------------------------------------------------------------------------------------------------------


@protects(PHASES, used=edit("commands/keys.py", "ring.PURPOSES[name].exact and encryption.is_used(key.text)", "False"))
def test_a_key_in_use_for_encryption_is_not_removed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(service)
    former = service.environment.secrets["DATA_KEY"]
    row = vault.add()
    works(vault.get(row).status == 200, "the value is decrypted")
    active = new_key()
    turned = text_of(service, (former, "retired"), (active, "active"))
    service.restart(DATA_KEY=turned)
    service.travel(days=367)
    works(vault.get(row).status == 200, "also a year after the key was retired")
    code, text = rotate(service, monkeypatch, "data")
    if code == 0:
        service.restart(DATA_KEY=text)
    answer = vault.get(row)
    harm(answer.status == 500, "a second factor can no longer be decrypted")
    assert code == 1
    assert text.startswith("Error: DATA_KEY: key 1 has to go, and is still in use. Run `keys reencrypt` first.")
    assert reencrypt(service, monkeypatch)[0] == 0
    code, text = rotate(service, monkeypatch, "data")
    assert (code, [status for _, status in keys_of(text)]) == (0, ["active", "next"])
    assert former not in text


@protects(PHASES, age=edit(RING, "    if moment < known_at:\n", "    if False:\n"))
def test_a_rotation_goes_on_through_its_phases_without_a_refusal(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stubbed(service) as stub:
        one = service.app
        strange = accepts(service, one, stolen(service, new_key()))  # after which nothing is looked up for ten seconds
        works(not strange, "a value that no known key signed is refused")
        _, published = rotate(service, monkeypatch, "session")
        works([status for _, status in keys_of(published)] == ["active", "next"], "the first step adds a next key")
        works(keys_of(published)[0][0] == stub.values["SECRET_KEY"], "the former key stays")
        stub.values["SECRET_KEY"] = published
        code, activated = rotate(service, monkeypatch, "session")
        lost = list[str]()
        if code == 0:  # an operator took the second step at once
            stub.values["SECRET_KEY"] = activated
            two = service._make()
            lost = [text for text in [signs(service, two, "value")] if not accepts(service, one, text)]
        harm(lost, "another process refused the new signature, so users are signed out")
        assert code == 1
        wait = int(activated.partition("again in ")[2].partition(" ")[0])
        assert KNOWN - 10 < wait <= KNOWN
        service.travel(seconds=wait - 5)
        assert rotate(service, monkeypatch, "session")[0] == 1
        service.travel(seconds=6)
        code, activated = rotate(service, monkeypatch, "session")
        assert code == 0
        assert [status for _, status in keys_of(activated)] == ["retired", "active"]
        stub.values["SECRET_KEY"] = activated
        two = service._make()
        for sends, takes in ((one, two), (two, one)):  # one of them asks the backend again in some minutes
            assert accepts(service, takes, signs(service, sends, "value"))
        service.travel(days=2)
        assert [status for _, status in keys_of(rotate(service, monkeypatch, "session")[1])] == ["active", "next"]
