"""The notes do what they are for. These tests are yours; `service` is a service with a database of its own."""

from __future__ import annotations

import re

from proofs.running import Service


def _write(browser: object, title: str, body: str = "") -> None:
    answer = browser.post("/notes/new", {"title": title, "body": body})  # type: ignore[attr-defined]
    assert answer.status == 303


def test_a_note_is_written_read_changed_and_deleted(service: Service) -> None:
    """The whole life of a note."""
    browser = service.client(service.user()).login()
    _write(browser, "Tom & Jerry <3", "first line\nsecond line")
    listed = browser.get("/notes")
    assert "Tom &amp; Jerry &lt;3" in listed.text
    path = re.search(r'href="(/notes/[0-9a-f-]{36})"', listed.text)
    assert path is not None
    assert "second line" in browser.get(path[1]).text

    assert browser.post(path[1], {"title": "Changed", "body": ""}).status == 303
    assert "Changed" in browser.get("/notes").text

    assert "Changed" in browser.get(f"{path[1]}/delete").text
    assert browser.post(f"{path[1]}/delete").status == 303
    assert browser.get(path[1]).status == 404


def test_a_note_without_a_title_is_shown_again_and_not_kept(service: Service) -> None:
    """What was typed is not lost."""
    browser = service.client(service.user()).login()
    answer = browser.post("/notes/new", {"title": "", "body": "typed with care"})
    assert answer.status == 422
    assert "typed with care" in answer.text
    assert "typed with care" not in browser.get("/notes").text


def test_notes_are_searched_sorted_and_shown_in_pages(service: Service) -> None:
    """Twenty on a page, the newest first unless another order is asked for."""
    browser = service.client(service.user()).login()
    for number in range(21):
        _write(browser, f"note {number:02}")
        service.travel(seconds=1)
    first, second = browser.get("/notes"), browser.get("/notes?page=2")
    assert "note 20" in first.text
    assert "note 00" not in first.text
    assert "note 00" in second.text
    assert "note 20" not in browser.get("/notes?sort=title").text
    found = browser.get("/notes?q=note+07")
    assert "note 07" in found.text
    assert "note 08" not in found.text
    assert browser.get("/notes?sort=nonsense").status == 422


def test_somebody_elses_note_is_not_there(service: Service) -> None:
    """The helpers of bastion keep users apart; this feature holds no code for it."""
    ada, bob = (service.client(service.user()).login() for _ in range(2))
    _write(ada, "Ada's plan")
    path = re.search(r'href="(/notes/[0-9a-f-]{36})"', ada.get("/notes").text)
    assert path is not None
    assert "plan" not in bob.get("/notes").text
    assert bob.get(path[1]).status == 404
