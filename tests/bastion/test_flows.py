"""Unit tests beside the proofs in test_flows.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..running import Service


# --- mfa-attempts-5 --------------------------------------------------------------------------------------------------


def test_whoever_found_a_flow_a_moment_ago_has_no_more_of_it_than_is_left(service: Service) -> None:
    """Many who come at once have all found it live: each statement behind that asks for everything once more."""
    flows, transaction = service.module("identity.flows"), service.module("database").transaction
    user = service.user()
    service.client(user).login()
    session = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        session_id = connection.execute(session.select().where(session.c.user_id == user.id)).one().id
    with service.app.app_context():
        with transaction() as connection:
            tokens = [flows.begin(connection, flows.LOGIN, user.id).token for _ in range(3)]
            enrols = flows.begin(connection, flows.ENROL, user.id, session_id=session_id).token
        one, other, late = (flows.find(flows.LOGIN, token) for token in tokens)
        assert flows.find(flows.ENROL, tokens[0]) is None
        assert flows.find(flows.ENROL, enrols) is None  # that of a session is found by the session alone
        flows.give_back(other)  # it has none yet
        assert [flows.count(one) for _ in range(6)] == [True] * 5 + [False]
        assert flows.count(other) is True
        flows.give_back(one)
        assert [flows.count(other) for _ in range(5)] == [True] * 4 + [False]
        assert [flows.count(one) for _ in range(2)] == [True, False]
        with transaction() as connection:
            assert [flows.spend(connection, one) for _ in range(2)] == [True, False]
        assert flows.count(one) is False
        service.travel(minutes=5, seconds=1)
        with transaction() as connection:
            assert flows.spend(connection, late) is False
        assert flows.count(late) is False
        assert [flows.find(flows.LOGIN, token) for token in tokens] == [None] * 3
