"""Tickets stay within their organisation, and the list keeps its filters."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from proofs.running import Service, User


def organisation(service: Service, *members: User) -> UUID:
    """Insert an organisation with these members, and give its id."""
    made = uuid4()
    service.rows("INSERT INTO organisation (id, name) VALUES (:id, 'Blue')", id=made.hex)
    for member in members:
        service.rows(
            "INSERT INTO membership (id, organisation_id, user_id) VALUES (:id, :of, :user)",
            id=uuid4().hex,
            of=made.hex,
            user=member.id.hex,
        )
    return made


@pytest.fixture
def ada(service: Service) -> User:
    """A member."""
    return service.user()


def test_members_share_their_tickets(service: Service, ada: User) -> None:
    bob, other, support = service.user(), service.user(), service.user(roles=("support",))
    blue = organisation(service, ada, bob)
    organisation(service, other)
    of_ada, of_bob, of_other, of_support = (service.client(user).login() for user in (ada, bob, other, support))
    written = of_ada.post(f"/tickets/in/{blue}", {"title": "Printer"})
    assert written.status == 201
    path = f"/tickets/{written.json['id']}"
    assert of_bob.put(path, {"title": "Printer is back", "state": "closed"}).status == 200
    assert of_ada.get("/tickets").json["items"][0]["title"] == "Printer is back"
    assert of_support.get(path).status == 200
    assert of_other.get("/tickets").json["total"] == 0
    assert [of_other.get(path).status, of_other.put(path, {"title": "x"}).status] == [404, 404]
    assert of_other.post(f"/tickets/in/{blue}", {"title": "x"}).status == 404
    service.rows("DELETE FROM membership WHERE user_id = :id", id=ada.id.hex)
    assert of_ada.get(path).status == 404


def test_filters_stay_in_the_links_of_a_list(service: Service, ada: User) -> None:
    blue = organisation(service, ada)
    client = service.client(ada).login()
    for number in range(6):
        client.post(f"/tickets/in/{blue}", {"title": f"Ticket {number}", "state": "closed" if number % 2 else "open"})
    query = {"state": "closed", "since": "2020-01-01", "mine": "true", "size": "2", "q": "ticket"}
    first = client.get("/tickets", query=query).json
    assert [first[name] for name in ("page", "pages", "total", "previous")] == [1, 2, 3, None]
    assert first["next"] == "/tickets?state=closed&since=2020-01-01&mine=true&size=2&q=ticket&page=2"
    second = client.get(first["next"]).json
    assert [len(first["items"]), len(second["items"]), second["next"]] == [2, 1, None]
    assert client.get(second["previous"]).json == first
    for wrong in ({"size": "101"}, {"size": "0"}, {"since": "soon"}, {"state": "burnt"}):
        assert client.get("/tickets", query=wrong).status == 422, wrong
