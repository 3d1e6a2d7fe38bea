"""Files: an upload is of an allowed type, within the quota, named by the service, and inert when it is sent."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import header_table
from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service, User
    from .service import Client
    from .wire import Response


PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
MARKUP = b"<!doctype html><script>alert(1)</script>"
FILE = "files/__init__.py"
PATH = "/probe/files"


def adds_files(service: Service, *, inline: bool = False) -> None:
    """Views that keep, send and delete a user's own files, as a team would write them."""
    files, owned_or_404 = service.module("files"), service.module().owned_or_404
    db = service.module("database").db

    def keep() -> Any:
        from flask import request
        from werkzeug.datastructures import FileStorage

        sent = request.files.get("file") or FileStorage(io.BytesIO(request.get_data()), request.args.get("name"))
        stored = files.keep(sent, allowed=files.IMAGES | files.TEXT)
        db.session.commit()
        return {"id": stored.id, "name": stored.name, "media_type": stored.media_type}

    def delete(file_id: uuid.UUID) -> Any:
        db.session.delete(owned_or_404(files.StoredFile, file_id))
        db.session.commit()
        return {}

    def send(file_id: uuid.UUID) -> Any:
        return files.send(owned_or_404(files.StoredFile, file_id), inline=inline)

    service.adds_route(PATH, methods=("POST",), view=files.takes_files(keep))
    service.adds_route(f"{PATH}/<uuid:file_id>", view=send, endpoint="probe_send")
    service.adds_route(f"{PATH}/<uuid:file_id>", methods=("DELETE",), view=delete, endpoint="probe_delete")


def upload(client: Client, name: str, content: bytes) -> Response:
    return client.post(PATH, files={"file": (name, content)})


def download(client: Client, kept: Response) -> Response:
    return client.get(f"{PATH}/{kept.json['id']}")


def on_disk(service: Service) -> list[str]:
    """The files in the service's folder of files."""
    return sorted(file.name for file in Path(service.env["BASTION_FILES_DIR"]).iterdir())


def add_rows(service: Service, user: User, number: int, size: int) -> None:
    """Write rows of files to the database directly, `number` of `size` bytes each."""
    table = service.module("files").StoredFile.__table__
    row = {"user_id": user.id, "name": "x.txt", "media_type": "text/plain", "size": size, "sha256": ""}
    with service.engine.begin() as connection:
        connection.execute(
            table.insert(), [{**row, "id": uuid.uuid4(), "created_at": service.now()} for _ in range(number)]
        )


@protects(
    "upload-type-checked",
    type=edit(
        FILE,
        "    kind = type_of(data)\n",
        '    kind = next((one for one in allowed if (sent.filename or "").endswith(one.suffixes)), None)\n',
    ),
)
def test_markup_under_an_images_name_is_refused(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    kept = upload(client, "photo.png", PNG)
    works((kept.status, kept.json["media_type"]) == (200, "image/png"), "an image is stored")
    answer = upload(client, "photo.png", MARKUP)
    harm(answer.ok, "markup was stored as an image")
    refused(answer, 422, "upload-type-checked")
    assert on_disk(service) == [uuid.UUID(kept.json["id"]).hex]


@protects("upload-size-and-quota", quota=edit(FILE, "    if number > limits.files_per_user or ", "    if "))
def test_no_user_has_more_files_than_allowed(service: Service) -> None:
    adds_files(service)
    user = service.user()
    client = service.client(user).login()
    add_rows(service, user, service.limits.files_per_user - 1, 0)
    last = upload(client, "last.png", PNG)
    works(last.status == 200, "the last file that is allowed is stored")
    answer = upload(client, "more.png", PNG)
    harm(answer.ok, "one file more than allowed was stored")
    refused(answer, 409, "upload-size-and-quota")
    assert on_disk(service) == [uuid.UUID(last.json["id"]).hex]
    assert client.delete(f"{PATH}/{last.json['id']}").status == 200
    assert upload(client, "again.png", PNG).status == 200


@protects(
    "upload-name-random",
    name=edit(
        FILE,
        "    _folder().write(stored.id, data)\n",
        "    (_folder()._path / str(sent.filename)).write_bytes(data)\n",
    ),
)
def test_an_uploads_name_is_no_path(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    kept = upload(client, "Träume.png", PNG)
    works(kept.json["name"] == "Träume.png", "the name is kept to be shown")
    answer = upload(client, "../escaped.png", PNG)
    harm((service.folder / "escaped.png").exists(), "the client chose where its file was written")
    assert answer.json["name"] == "escaped.png"
    assert on_disk(service) == sorted(uuid.UUID(one.json["id"]).hex for one in (kept, answer))
    assert {file.stat().st_mode & 0o777 for file in Path(service.env["BASTION_FILES_DIR"]).iterdir()} == {0o600}


@protects("download-inert", attachment=edit(FILE, "not shown, stored.name", "False, stored.name"))
def test_a_download_is_no_page(service: Service) -> None:
    adds_files(service)
    owner, thief = (service.client(service.user()).login() for _ in range(2))
    text = b"x" + MARKUP
    kept = upload(owner, "x.html", text)
    works(kept.json["name"] == "x.html.txt", "a text is stored, under a name of its type")
    answer = download(owner, kept)
    works((answer.status, answer.body) == (200, text), "its owner gets the same bytes")
    shown = answer.header("Content-Disposition") != "attachment; filename=x.html.txt"
    harm(shown, "a browser would show what a user has uploaded")
    assert answer.headers_named("Content-Type") == ["text/plain; charset=utf-8"]
    assert header_table.faults(service, answer, download=True) == []
    assert answer.headers_named("Cache-Control") == ["no-store"]
    refused(download(thief, kept), 404, "ownership-404")


@protects("upload-follows-row", deleted=edit(FILE, "        _clean_up(touched)\n", "        pass\n"))
def test_a_deleted_file_is_off_the_disk(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    kept, doomed = upload(client, "a.png", PNG), upload(client, "b.png", PNG)
    works(len(on_disk(service)) == 2, "two files are stored")
    assert client.delete(f"{PATH}/{doomed.json['id']}").status == 200
    harm(len(on_disk(service)) == 2, "a file outlived its row")
    assert on_disk(service) == [uuid.UUID(kept.json["id"]).hex]
    assert (download(client, kept).body, download(client, doomed).status) == (PNG, 404)
