"""Attachments do what they are for."""

from __future__ import annotations

import re
from pathlib import Path

from proofs.running import Service

PDF = b"%PDF-1.7\n"


def test_a_file_is_attached_opened_and_deleted(service: Service) -> None:
    browser, other = (service.client(service.user()).login() for _ in range(2))
    assert browser.post("/attachments", files={"file": ("offer <1>.pdf", PDF)}).status == 303
    listed = browser.get("/attachments")
    assert "offer &lt;1&gt;.pdf" in listed.text
    path = re.search(r"/attachments/[0-9a-f-]{36}", listed.text)
    assert path is not None
    answer = browser.get(path[0])
    assert (answer.body, answer.header("Content-Disposition")) == (PDF, 'attachment; filename="offer <1>.pdf"')
    assert (other.get(path[0]).status, other.post(f"{path[0]}/delete").status) == (404, 404)

    assert browser.post(f"{path[0]}/delete").status == 303
    assert browser.get(path[0]).status == 404
    assert [*Path(service.env["BASTION_FILES_DIR"]).iterdir()] == []


def test_a_file_that_can_not_be_kept_is_named_on_the_page(service: Service) -> None:
    browser = service.client(service.user()).login()
    answer = browser.post("/attachments", files={"file": ("photo.png", b"<svg/>")})
    assert (answer.status, "This is no file of these types: gif, jpg, pdf, png, txt, webp." in answer.text) == (
        422,
        True,
    )
    large = PDF + bytes(service.limits.file_bytes)
    answer = browser.post("/attachments", files={"file": ("large.pdf", large)})
    assert (answer.status, "The file is larger than" in answer.text) == (422, True)
    answer = browser.post("/attachments", {"file": ""})
    assert (answer.status, "This field is required." in answer.text) == (422, True)
