"""The notes as their owner's program uses them. These tests are yours, like the notes."""

from __future__ import annotations

from uuid import uuid4

from proofs.running import Service


def test_a_note_is_written_read_changed_and_deleted(service: Service) -> None:
    client = service.client(service.user()).login()
    written = client.post("/notes", {"title": "Shopping", "body": "milk\nbread"})
    assert written.status == 201
    address = f"/notes/{written.json['id']}"
    assert client.get(address).json["body"] == "milk\nbread"

    changed = client.put(address, {"title": "Groceries"})
    assert (changed.json["title"], changed.json["body"]) == ("Groceries", "")
    assert client.delete(address).status == 204
    assert client.get(address).status == 404


def test_the_list_is_searched_sorted_and_paged(service: Service) -> None:
    client = service.client(service.user()).login()
    for number in range(21):
        client.post("/notes", {"title": f"Note {number:02}"})
    client.post("/notes", {"title": "100%"})

    first = client.get("/notes").json
    assert (first["items"][0]["title"], len(first["items"]), first["pages"], first["total"]) == ("100%", 20, 2, 22)
    assert [note["title"] for note in client.get("/notes?page=2&sort=oldest").json["items"]] == ["Note 20", "100%"]
    assert [note["title"] for note in client.get("/notes", query={"q": "%"}).json["items"]] == ["100%"]
    assert client.get("/notes?q=note&sort=title").json["items"][0]["title"] == "Note 00"


def test_a_note_without_a_title_is_refused_with_the_place(service: Service) -> None:
    client = service.client(service.user()).login()
    answer = client.post("/notes", {"title": "", "body": "text"})
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == ["#/title"]
    assert client.get("/notes").json["total"] == 0


def test_another_users_note_is_not_there(service: Service) -> None:
    owner, other = (service.client(service.user()).login() for _ in range(2))
    address = f"/notes/{owner.post('/notes', {'title': 'Mine'}).json['id']}"
    for path in (address, f"/notes/{uuid4()}"):
        assert other.get(path).status == 404
        assert other.put(path, {"title": "Yours"}).status == 404
        assert other.delete(path).status == 404
    assert other.get("/notes").json["total"] == 0
    assert owner.get(address).json["title"] == "Mine"


def test_nobody_reads_notes_without_signing_in(service: Service) -> None:
    assert service.client().get("/notes").status == 401
