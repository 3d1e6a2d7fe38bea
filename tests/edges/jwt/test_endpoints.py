"""Proofs of jwt/endpoints.py that only concern JSON; the others are in ../test_login.py and ../test_sessions.py.

They stop an attacker's login from looking like the owner's in the list of sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works
from ...logins import cheap_user

if TYPE_CHECKING:
    from ...running import Service


FILE = "jwt/endpoints.py"


@protects("session-list-and-revoke", place=edit(FILE, 'address=request.remote_addr or "",', 'address="",'))
def test_a_login_is_listed_with_where_it_came_from(service: Service) -> None:
    user = cheap_user(service)
    owner, thief = service.client(user), service.client(user, "203.0.113.9")
    owner.agent, thief.agent = "the owner's", "the thief's"
    for client in (owner, thief):
        client.login(through_form=True)
    answer = owner.sessions()
    works(len(answer.json["items"]) == 2, "the list shows both logins")
    listed = {one["agent"]: one for one in answer.json["items"]}
    harm(listed["the thief's"]["address"] != thief.address, "the list does not show the address of a login")
    assert listed["the owner's"]["address"] == owner.address
    assert (listed["the owner's"]["current"], listed["the thief's"]["current"]) == (True, False)
    assert {one["current"] for one in thief.sessions().json["items"] if one["agent"] == thief.agent} == {True}
