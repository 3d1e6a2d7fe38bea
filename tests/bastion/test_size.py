"""Unit tests beside the proofs in test_size.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..test_size import CountedBody, adds_reader, limit, sends

if TYPE_CHECKING:
    from ..running import Service


class Failing(CountedBody):
    """A body of which the server can make nothing, or whose connection is lost."""

    def __init__(self, error: Exception) -> None:
        super().__init__(10)
        self._error = error

    def readinto(self, _buffer: Any) -> int:
        raise self._error


def test_a_body_that_the_server_cannot_read_is_the_clients_fault(service: Service) -> None:
    arrived, client = adds_reader(service), service.client(service.user()).login()
    for error in (ValueError("no chunk"), RuntimeError("no chunk"), ConnectionResetError("gone")):
        assert sends(client, Failing(error), declared=None).status == 400
        assert sends(client, Failing(error), declared=10).status == 400
    assert arrived == []


def test_a_body_that_came_past_the_edge_is_cut_off_by_flask(service: Service) -> None:
    from flask import request
    from werkzeug.exceptions import RequestEntityTooLarge

    most = limit(service)
    with service.app.test_request_context("/", method="POST", data=b"x" * most):
        assert len(request.get_data()) == most
    with (
        service.app.test_request_context("/", method="POST", data=b"x" * (most + 2)),
        pytest.raises(RequestEntityTooLarge),
    ):
        request.get_data()
