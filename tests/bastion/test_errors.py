"""Unit tests beside the proofs in test_errors.py."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ..edges.test_errors import _ID, STATUSES, add_failures
from ..running import Service
from ..service import AUTH
from ..test_errors import told

if TYPE_CHECKING:
    pass


# --- one format ------------------------------------------------------------------------------------------------


def test_each_status_says_in_words_of_its_own_what_happened(service: Service) -> None:
    add_failures(service)
    client = service.client(service.user()).login()

    def words(code: int) -> tuple[str, ...]:
        answer = client.get(f"/abort/{code}")
        assert answer.status == code
        return (answer.json["title"],) if AUTH == "jwt" else told(answer)[0][1:]

    found = [word for code in STATUSES for word in words(code)]
    assert len(set(found)) == len(found) >= len(STATUSES)
    assert (words(418), words(502)) == (words(400), words(500))  # that the client is at fault, or the service


def test_the_reference_in_an_answer_is_the_requests_id_in_the_log(service: Service) -> None:
    add_failures(service)
    answer = service.client(service.user()).login().get("/view")
    assert answer.request_id is not None
    assert uuid.UUID(answer.request_id).version == 4
    assert {event["request_id"] for event in answer.events} == {answer.request_id}
    assert uuid.UUID(answer.request_id) in [uuid.UUID(found) for found in _ID.findall(answer.text)]
