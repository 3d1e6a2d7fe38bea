"""Edges of the proofs in test_media_types.py: further attacks on the same protections."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..test_media_types import FILES, PLAIN, ROW, adds_careless, files, types

if TYPE_CHECKING:
    import pytest

    from ..running import Service


@protects(
    ROW,
    table=edit(
        "edge/media_types.py", "        mimetypes.add_type(kind, suffix)\n", "        mimetypes.guess_type(suffix)\n"
    ),
)
def test_a_program_on_the_machine_does_not_decide_what_a_file_is(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor registers scripts as text for the whole system, and from then on no browser runs them."""
    mimetypes.init()
    for name in FILES:
        monkeypatch.setitem(mimetypes.types_map, Path(name).suffix, "text/plain")
    adds_careless(service)
    client = service.client()
    works(types({"": client.get("/careless/file/note.txt")}) == {"": [PLAIN]}, "a text is a text")
    harm(types(files(client)) != FILES, "a file is what the machine's table says")


@protects(ROW)
def test_no_client_chooses_what_an_answer_is(service: Service) -> None:
    adds_careless(service)
    client = service.client()
    plain = client.get("/careless/json")
    works(plain.headers_named("Content-Type") == ["application/json"], "JSON is JSON")
    for query in (
        {"callback": "run"},
        {"jsonp": "run"},
        {"format": "html"},
        {"type": "text/html"},
        {"_format": "html"},
    ):
        for accept in ("text/html", "application/javascript", "*/*"):
            answer = client.get("/careless/json", query=query, headers={"Accept": accept})
            harm(answer.headers_named("Content-Type") != ["application/json"], f"{query} and {accept} changed the type")
            assert answer.body == plain.body
