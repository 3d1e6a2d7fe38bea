"""Tickets stay within their organisation, and the list keeps its filters."""

from __future__ import annotations

import re
from html import unescape
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
    assert of_ada.post(f"/tickets/in/{blue}", {"title": "Printer", "state": "open"}).status == 303
    path = re.search(r'href="(/tickets/[0-9a-f-]{36})"', of_bob.get("/tickets").text)
    assert path is not None
    assert of_bob.post(path[1], {"title": "Printer is back", "state": "closed"}).status == 303
    assert "Printer is back" in of_ada.get("/tickets").text
    assert "Printer is back" in of_support.get(path[1]).text
    assert "Printer" not in of_other.get("/tickets").text
    assert [of_other.get(path[1]).status, of_other.post(path[1], {"title": "x", "state": "open"}).status] == [404, 404]
    assert of_other.post(f"/tickets/in/{blue}", {"title": "x", "state": "open"}).status == 404
    service.rows("DELETE FROM membership WHERE user_id = :id", id=ada.id.hex)
    assert of_ada.get(path[1]).status == 404


def test_a_state_that_is_no_choice_is_refused(service: Service, ada: User) -> None:
    blue = organisation(service, ada)
    browser = service.client(ada).login()
    assert '<option value="closed">Closed</option>' in browser.get(f"/tickets/in/{blue}").text
    assert browser.post(f"/tickets/in/{blue}", {"title": "Printer", "state": "burnt"}).status == 422
    assert service.rows("SELECT count(*) FROM ticket")[0][0] == 0


def test_filters_stay_in_the_links_of_a_list(service: Service, ada: User) -> None:
    blue = organisation(service, ada)
    browser = service.client(ada).login()
    for number in range(6):
        browser.post(f"/tickets/in/{blue}", {"title": f"Ticket {number}", "state": "closed" if number % 2 else "open"})
    filters = {"state": "closed", "since": "2020-01-01", "mine": "y", "size": "2", "q": "ticket"}
    first = browser.get("/tickets", query={**filters, "_external": "1", "nonsense": "1"})
    assert [first.text.count(f"Ticket {number}<") for number in range(6)].count(1) == 2
    link = re.search(r'rel="next" href="([^"]*)"', first.text)
    assert link is not None
    assert unescape(link[1]) == "/tickets?page=2&state=closed&since=2020-01-01&mine=y&size=2&q=ticket"
    assert "Page" in browser.get(unescape(link[1])).text
    assert "0 tickets" in browser.get("/tickets", query={"since": "2999-01-01"}).text
    assert "6 tickets" in browser.get("/tickets", query={"since": "", "state": ""}).text
    for query in ({"size": "101"}, {"size": "0"}, {"since": "soon"}, {"state": "burnt"}):
        assert browser.get("/tickets", query=query).status == 422, query
