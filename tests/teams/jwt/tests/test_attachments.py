"""Attachments do what they are for."""

from __future__ import annotations

from pathlib import Path

from proofs.running import Service

PDF = b"%PDF-1.7\n"


def test_a_file_is_attached_opened_and_deleted(service: Service) -> None:
    client, other = (service.client(service.user()).login() for _ in range(2))
    attached = client.post("/attachments", files={"file": ("offer.pdf", PDF)})
    assert (attached.status, attached.json["media_type"], attached.json["size"]) == (201, "application/pdf", len(PDF))
    path = f"/attachments/{attached.json['id']}"
    answer = client.get(path)
    assert (answer.body, answer.mimetype) == (PDF, "application/octet-stream")
    assert answer.header("Content-Disposition") == "attachment; filename=offer.pdf"
    assert (other.get(path).status, other.delete(path).status) == (404, 404)

    assert client.delete(path).status == 204
    assert client.get(path).status == 404
    assert [*Path(service.env["BASTION_FILES_DIR"]).iterdir()] == []


def test_what_is_no_file_is_refused(service: Service) -> None:
    client = service.client(service.user()).login()
    assert client.post("/attachments", files={"file": ("photo.png", b"<svg/>")}).status == 422
    assert (
        client.post("/attachments", files={"file": ("large.pdf", PDF + bytes(service.limits.file_bytes))}).status == 413
    )
    for sent in ("application/pdf", "multipart/form-data; boundary=x", "text/plain", "application/json"):
        assert client.post("/attachments", body=PDF, content_type=sent).status == 415
