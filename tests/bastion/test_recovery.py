"""Unit tests beside the proofs in test_recovery.py."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..running import Service, User


# --- how often -------------------------------------------------------------------------------------------------


def test_a_link_is_good_as_long_as_all_are_who_stand_behind_it(service: Service) -> None:
    """And that others are there, active and signed in, makes up for none of them."""
    models, links, moment = service.module("identity.models"), service.module("identity.links"), service.now()
    owner, inviter, other = service.user(), service.user(), service.user()
    service.client(owner).login()
    service.client(other).login()
    users, sessions, table = (one.__table__ for one in (models.User, models.AuthSession, models.Link))
    with service.engine.connect() as connection:
        [session] = connection.execute(sessions.select().where(sessions.c.user_id == owner.id)).all()
    behind = {"user_id": owner.id, "inviter_id": inviter.id, "session_id": session.id}
    tokens = {name: name.ljust(43, "x") for name in ("nobody", *behind)}
    rows = [
        {
            "id": uuid.uuid4(),
            "token_hash": hashlib.sha256(token.encode()).digest(),
            "email": "a@b.example",
            **{"purpose": "reset", "roles": "", "created_at": moment, "expires_at": moment + timedelta(hours=1)},
            **{one: behind[one] if one == name else None for one in behind},
        }
        for name, token in tokens.items()
    ]

    def bad(statement: Any, back: Any) -> list[str]:
        """Those that are not good any more after this statement; then everything is as it was."""
        with service.engine.begin() as connection:
            connection.execute(statement)
        with service.app.app_context():
            found = [name for name, token in tokens.items() if links.look(token, "reset") is None]
            assert [links.look(token, "email") for token in tokens.values()] == [None] * 4
        with service.engine.begin() as connection:
            connection.execute(back)
        return found

    def off(user: User, active: bool) -> Any:
        return users.update().where(users.c.id == user.id).values(active=active)

    mine = sessions.update().where(sessions.c.id == session.id)
    was = mine.values(revoked_at=None, expires_at=session.expires_at)
    all_good = table.update().values(used_at=None, expires_at=moment + timedelta(hours=1))
    with service.engine.begin() as connection:
        connection.execute(table.insert(), rows)
    assert bad(was, was) == []
    assert bad(off(owner, False), off(owner, True)) == ["user_id"]
    assert bad(off(inviter, False), off(inviter, True)) == ["inviter_id"]
    assert bad(off(other, False), off(other, True)) == []
    assert bad(mine.values(revoked_at=moment), was) == ["session_id"]
    assert bad(mine.values(expires_at=moment), was) == ["session_id"]
    assert bad(table.update().values(used_at=moment), all_good) == [*tokens]
    assert bad(table.update().values(expires_at=moment), all_good) == [*tokens]
