"""Unit tests beside the proofs in test_registration.py."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service


# --- who may register ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["open", "invitation", "closed"])
def test_whoever_asks_for_it_nobody_is_invited_where_nobody_may_be(service: Service, mode: str) -> None:
    """Below the pages as well: a team may call it from one of its own."""
    service.setting("BASTION_REGISTRATION", mode)
    by = service.user()
    with service.app.test_request_context("/", ORIGIN), ExitStack() as stack:
        if mode == "closed":
            stack.enter_context(pytest.raises(service.module("audit.refusal").Refused))
        service.module("identity.registration").invite("new@example.com", (), by=by.id)
    waiting = service.rows("SELECT email FROM mail_outbox")
    assert [tuple(row) for row in waiting] == ([] if mode == "closed" else [("new@example.com",)])
    if mode != "open":
        with service.app.test_request_context("/", ORIGIN), pytest.raises(service.module("audit.refusal").Refused):
            service.module("identity.registration").register("another@example.com")
