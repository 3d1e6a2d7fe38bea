"""Edges of the proofs in test_files.py: further attacks on the same protections."""

from __future__ import annotations

import errno
import io
import os
import uuid
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import header_table
from ..harness import Meeting, at_once, edit, harm, protects, refused, works
from ..service import AUTH, DATABASE
from ..test_files import FILE, MARKUP, PATH, PNG, add_rows, adds_files, download, on_disk, upload

if TYPE_CHECKING:
    from ..running import Service
    from ..wire import Response

LOCK = (
    {"lock": edit(FILE, "    sessions.hold(session.connection(), current_user.id)", "    session.connection()")}
    if DATABASE != "sqlite"
    else {}
)
CONTENTS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "image/gif": b"GIF89a\x01\x00",
    "image/webp": b"RIFF\x1a\x00\x00\x00WEBPVP8 ",
    "text/plain": "id;name\r\n1;Träume\r\n".encode("utf-8-sig"),
}
PDF = b"%PDF-1.7\n"


def ids(*kept: Response) -> list[str]:
    """The names that these uploads have on the disk."""
    return sorted(uuid.UUID(one.json["id"]).hex for one in kept)


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("a.txt", "x")
    return made.getvalue()


# --- upload-type-checked ---------------------------------------------------------------------------------------------


@protects("upload-type-checked", markup=edit("files/content.py", 'return text.lstrip()[:1] != "<"', "return True"))
def test_markup_and_other_types_are_refused_whatever_their_name(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    kept = {kind: upload(client, "x", content) for kind, content in CONTENTS.items()}
    works({kind: one.json["media_type"] for kind, one in kept.items()} == {kind: kind for kind in kept}, "each is kept")
    markup = [
        *(MARKUP, b" \r\n\t" + MARKUP, b"\xef\xbb\xbf" + MARKUP, b"\xef\xbb\xbf\n<svg onload=alert(1)>"),
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    ]
    answers = [upload(client, name, content) for content in markup for name in ("a.txt", "a.png", "a.html")]
    harm([answer for answer in answers if answer.ok], "markup was stored")
    others = [
        archive(),
        b"\x7fELF\x02\x01\x01",
        b"MZ\x90\x00",
        b" " + PNG,
        "text".encode("utf-16"),
        b"a\x00b",
        b"\x1b[2J",
    ]
    answers += [
        upload(client, name, content) for content in [*others, PDF, b"\xff\xfe", b""] for name in ("a.txt", "a.png")
    ]
    for answer in answers:
        refused(answer, 422, "upload-type-checked")
    assert on_disk(service) == ids(*kept.values())


@protects("upload-type-checked", allowed=edit(FILE, "if kind is None or kind not in allowed:", "if kind is None:"))
def test_a_view_gets_only_types_that_it_takes(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    works(upload(client, "a.png", PNG).ok, "an image is stored where images are allowed")
    answer = upload(client, "a.png", PDF)
    harm(answer.ok, "a document was stored where none is allowed")
    refused(answer, 422, "upload-type-checked")
    assert service.module("files").PDF.isdisjoint(service.module("files").IMAGES)


# --- upload-size-and-quota -------------------------------------------------------------------------------------------


@protects("upload-size-and-quota", bytes=edit(FILE, " or size > limits.file_bytes_per_user:", ":"))
def test_no_user_has_more_bytes_than_allowed(service: Service) -> None:
    adds_files(service)
    user, other = service.user(), service.user()
    client = service.client(user).login()
    left = service.limits.file_bytes_per_user - len(PNG)
    add_rows(service, user, 7, left // 8)
    add_rows(service, user, 1, left - left // 8 * 7)
    kept = upload(client, "a.png", PNG)
    works(kept.status == 200, "the last bytes that are allowed are stored")
    answer = upload(client, "b.txt", b"x")
    harm(answer.ok, "a byte more than allowed was stored")
    refused(answer, 409, "upload-size-and-quota")
    free = upload(service.client(other).login(), "b.txt", b"x")
    assert (free.status, on_disk(service)) == (200, ids(kept, free))


@protects("upload-size-and-quota", size=edit(FILE, "    if len(data) > limits.file_bytes:\n", "    if False:\n"))
def test_a_file_is_not_larger_than_allowed(service: Service) -> None:
    adds_files(service)
    client, most = service.client(service.user()).login(), service.limits.file_bytes
    full = PNG + b"x" * (most - len(PNG))
    kept = upload(client, "a.png", full)
    works((kept.status, download(client, kept).body == full) == (200, True), "a file of exactly the limit is stored")
    answer = upload(client, "a.png", full + b"x")
    harm(answer.ok, "a file above the limit was stored")
    refused(answer, 413, "upload-size-and-quota")
    assert on_disk(service) == ids(kept)


@protects(
    "upload-size-and-quota",
    route=(
        edit(FILE, " * takes(app.view_functions.get(endpoint))", ""),
        edit(
            FILE,
            "        if is_taken():\n            request.max_content_length",
            "        if True:\n            request.max_content_length",
        ),
    ),
)
def test_other_routes_take_no_larger_body(service: Service) -> None:
    arrived: list[int] = []

    def view() -> Any:
        from flask import request

        arrived.append(len(request.get_data()))
        return {}

    service.adds_route("/probe", methods=("POST",), view=view)
    adds_files(service)
    client, limits = service.client(service.user()).login(), service.limits
    body = b'["' + b"x" * (limits.body_bytes - 4) + b'"]'
    works(client.post("/probe", body=body, content_type="application/json").ok, "a body of the common limit arrives")
    arrived.clear()
    answers = [client.post(path, body=body + b" ", content_type="application/json") for path in ("/probe", "/nowhere")]
    harm(arrived, "a view that takes no files got a larger body")
    large = PNG + b"x" * (limits.body_bytes + limits.file_bytes)
    answers.append(upload(client, "a.png", large))
    chunked = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answers.append(client.post(PATH, files={"file": ("a.png", large[: limits.body_bytes + 1])}, environ=chunked))
    for answer in answers:
        refused(answer, 413, "body-limit-1-mib")
    assert on_disk(service) == []


@protects("upload-size-and-quota", **LOCK)
def test_uploads_at_once_share_one_quota(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    adds_files(service)
    user = service.user()
    clients = [service.client(user).login() for _ in range(3)]
    add_rows(service, user, service.limits.files_per_user - 2, 0)
    works(upload(clients[0], "a.png", PNG).ok, "the last file but one is stored")
    folder, meeting = service.module("files.storage").Folder, Meeting(3)
    write = folder.write

    def slow(self: Any, *given: Any) -> None:
        meeting.wait()
        write(self, *given)

    monkeypatch.setattr(folder, "write", slow)
    answers = at_once([partial(upload, client, "a.png", PNG) for client in clients])
    stored = [answer for answer in answers if answer.ok]
    harm(len(stored) > 1, "concurrent uploads got past the quota")
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    assert len(on_disk(service)) == 2


# --- upload-name-random ----------------------------------------------------------------------------------------------

NAMES = {
    "a/b.png": "b.png",
    "/etc/passwd": "passwd.png",
    "C:\\x\\photo.PNG": "photo.PNG",
    ".htaccess": "htaccess.png",
    "..": "file.png",
    "con": "con.png",
    "": "file.png",
    ".png": "png.png",
    "x.png.exe": "x.png.exe.png",
    "invoice\u202egnp.exe": "invoicegnp.exe.png",
    "a\u2028b\x07.png": "ab.png",
    "n" * 300 + ".png": "n" * 95 + ".png",
    "Träume \u6587.png": "Träume \u6587.png",
    "x.svg.": "x.svg.png",
}


@protects(
    "upload-name-random",
    shown=edit(FILE, 'display_name(name or sent.filename or "", kind)', '(name or sent.filename or "")[:100]'),
)
def test_a_name_is_plain_text_of_its_type(service: Service) -> None:
    adds_files(service)
    files = service.module("files")
    client = service.client(service.user()).login()
    works(upload(client, "photo.png", PNG).json["name"] == "photo.png", "a plain name is shown as it came")
    answer = upload(client, "invoice.pdf.exe", PNG)
    harm(answer.json["name"] == "invoice.pdf.exe", "an image is saved as a program")
    assert answer.json["name"] == "invoice.pdf.exe.png"
    [png] = [kind for kind in files.IMAGES if kind.media_type == "image/png"]
    assert {name: files.display_name(name, png) for name in NAMES} == NAMES
    assert {len(name) <= 100 for name in NAMES.values()} == {True}
    if AUTH == "session":
        refused(upload(client, "a\x00.png", PNG), 400, "control-characters-refused")


@protects(
    "upload-name-random",
    folder=edit("files/storage.py", "if path.is_relative_to(package) or package.is_relative_to(path):", "if False:"),
    mode=edit(
        "files/storage.py", "if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():", "if False:"
    ),
)
def test_files_lie_in_a_private_folder_outside_of_the_package(service: Service) -> None:
    adds_files(service)
    package = Path(service.bastion).parent
    (open_folder := service.folder / "open").mkdir()
    open_folder.chmod(0o750)
    (link := service.folder / "link").symlink_to(package)
    works(service.start().app is not None, "a service with a private folder starts")
    assert (service.folder / "files").stat().st_mode & 0o777 == 0o700
    inside = package / "static" / "files"
    starts = {
        str(folder): service.start(BASTION_FILES_DIR=str(folder))
        for folder in (inside, package, package.parent, link / "files", open_folder)
    }
    harm([folder for folder, start in starts.items() if start.app], "files lie where others can get them")
    assert not inside.exists()
    assert ["chmod 700" in start.text for start in starts.values()] == [False] * 4 + [True]
    for folder in (None, "", "files", "/", str(service.folder / "no" / "files"), __file__):
        start = service.start(BASTION_FILES_DIR=folder)
        assert (start.app, len(start.reasons), "BASTION_FILES_DIR" in start.text) == (None, 1, True)


@protects("upload-name-random")
def test_without_views_that_take_files_no_folder_is_needed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    module = service.module("files")
    monkeypatch.setattr(module, "takes", lambda _view: False)  # whatever the team has
    app = service.boot(BASTION_FILES_DIR=None)
    (service.folder / "data").mkdir()
    monkeypatch.chdir(service.folder / "data")
    (service.folder / "data" / uuid.uuid4().hex).touch()
    os.utime(next((service.folder / "data").iterdir()), (0, 0))
    works(app is not None, "it starts")
    with app.app_context():
        harm(module.purge(), "a purge without a folder removed a file of somewhere else")


# --- download-inert --------------------------------------------------------------------------------------------------


@protects(
    "download-inert",
    inline=edit(FILE, "shown = inline and any(", "shown = inline or any("),
    sandbox=edit("edge/headers.py", " or (disposition and kind in SANDBOXED)", ""),
    cached=edit(FILE, ", max_age=0", ""),
)
def test_only_images_are_shown_and_in_a_sandbox(service: Service) -> None:
    adds_files(service, inline=True)
    service.adds(lambda app: app.config.update(SEND_FILE_MAX_AGE_DEFAULT=3600))
    client = service.client(service.user()).login()
    image, text = upload(client, "a.png", PNG), upload(client, "b\";x='.txt", b"x" + MARKUP)
    shown, saved = download(client, image), download(client, text)
    works(shown.header("Content-Disposition") == "inline; filename=a.png", "an image may be shown")
    loose = "sandbox" not in (shown.header("Content-Security-Policy") or "")
    harm(loose, "an uploaded image is a document without a sandbox")
    harm((saved.header("Content-Disposition") or "")[:10] != "attachment", "an uploaded text is shown")
    harm("no-store" not in (shown.header("Cache-Control") or ""), "a cache keeps an uploaded image")
    assert (
        header_table.faults(service, shown, download=True) == header_table.faults(service, saved, download=True) == []
    )
    assert [one.headers_named("Content-Type") for one in (shown, saved)] == [
        ["image/png"],
        ["text/plain; charset=utf-8"],
    ]
    part = client.get(f"{PATH}/{image.json['id']}", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body, part.header("ETag"), part.header("Content-Length")) == (
        200,
        PNG,
        None,
        str(len(PNG)),
    )
    strange = download(client, upload(client, "Träume;.png", PNG)).header("Content-Disposition")
    assert strange == "inline; filename=\"Traume;.png\"; filename*=UTF-8''Tr%C3%A4ume%3B.png"


# --- upload-follows-row ----------------------------------------------------------------------------------------------


def adds_failing(service: Service, fail: Any) -> None:
    """A view that keeps a file, and then fails."""
    files, db = service.module("files"), service.module("database").db

    def view() -> Any:
        from werkzeug.datastructures import FileStorage

        files.keep(FileStorage(io.BytesIO(PNG), "a.png"), allowed=files.IMAGES)
        return fail(db.session)

    service.adds_route("/probe/failing", methods=("POST",), view=files.takes_files(view))


def failing(service: Service) -> Response:
    return service.client(service.user()).login().post("/probe/failing", files={"file": ("a.png", PNG)})


@protects("upload-follows-row", deleted=edit(FILE, "        _clean_up(touched)\n", "        pass\n"))
@pytest.mark.parametrize("end", ["rolls back", "raises", "does not commit", "fails to commit"])
def test_a_view_that_fails_leaves_no_content(service: Service, end: str) -> None:
    def fail(session: Any) -> Any:
        if end == "rolls back":
            session.rollback()
        elif end == "raises":
            raise RuntimeError("a fault of the view")
        elif end == "fails to commit":
            session.add(
                service.module("files").StoredFile(user_id=uuid.uuid4(), name="", media_type="", size=0, sha256="")
            )
            session.commit()
        return {}

    adds_files(service)
    adds_failing(service, fail)
    works(upload(service.client(service.user()).login(), "a.png", PNG).ok, "a file is stored")
    answer = failing(service)
    harm(len(on_disk(service)) != 1, "an upload that failed left its content")
    assert answer.status == {"raises": 500, "fails to commit": 409}.get(end, 200)


@protects("upload-follows-row")
def test_content_stays_when_only_a_part_is_rolled_back(service: Service) -> None:
    def fail(session: Any) -> Any:
        session.begin_nested().rollback()
        session.commit()
        return {}

    adds_files(service)
    adds_failing(service, fail)
    client = service.client(service.user()).login()
    works(upload(client, "a.png", PNG).ok, "a file is stored")
    assert failing(service).status == 200
    harm(len(on_disk(service)) != 2, "a file with a row lost its content")


@protects("upload-follows-row")
def test_a_full_disk_leaves_no_file(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    works(upload(client, "a.png", PNG).ok, "a file is stored")

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = upload(client, "b.png", PNG)
    harm(len(on_disk(service)) != 1, "a part of a file is left")
    assert (answer.status, service.rows("SELECT count(*) FROM stored_file")[0][0]) == (500, 1)


@protects(
    "upload-follows-row",
    account=edit(FILE, "    return lambda: _clean_up(idents)  # after the commit\n", "    return lambda: None\n"),
)
def test_an_accounts_files_go_with_it_and_are_in_its_export(service: Service) -> None:
    adds_files(service)
    leaver, other = (service.client(service.user()).login() for _ in range(2))
    kept, doomed = upload(other, "a.png", PNG), upload(leaver, "mine.png", PNG)
    works(on_disk(service) == ids(kept, doomed), "both have a file")
    exported = leaver.export()
    assert "mine.png" in exported.text
    assert "a.png" not in exported.text.replace("mine.png", "")
    leaver.step_up(leaver.user.password if leaver.user else "")
    assert leaver.delete_account().status == leaver.DONE["delete_account"]
    harm(doomed.json["id"].replace("-", "") in on_disk(service), "a file outlived its account")
    assert on_disk(service) == ids(kept)


@protects(
    "upload-follows-row",
    purge=edit(
        FILE, "    return remove_rowless(_folder().older_than(now().timestamp() - _GRACE_SECONDS))", "    return 0"
    ),
    young=edit("files/storage.py", "if entry.stat(follow_symlinks=False).st_mtime < moment:", "if True:"),
)
def test_a_purge_removes_what_has_no_row(service: Service) -> None:
    adds_files(service)
    client = service.client(service.user()).login()
    kept = upload(client, "a.png", PNG)
    works(kept.ok, "a file is stored")
    folder = Path(service.env["BASTION_FILES_DIR"])
    left, writing, foreign = uuid.uuid4().hex, uuid.uuid4().hex, "lost+found"
    for name in (left, writing, foreign):  # of a process that was killed, of one that stores it now, of an operator
        (folder / name).write_bytes(PNG)
    old = service.now().timestamp() - 3601
    for name in (left, foreign, *ids(kept)):
        os.utime(folder / name, (old, old))
    with service.app.app_context():
        removed = service.module("files").purge()
    there = on_disk(service)
    harm(left in there, "a file without a row stays for good")
    harm(writing not in there, "a file that is being stored was removed")
    assert (removed, there) == (1, sorted([writing, foreign, *ids(kept)]))
