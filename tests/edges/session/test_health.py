"""Proofs of the static files of session/pages.py: only files in the static folder are served.

They stop directory listing, and path traversal from the folder to the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...harness import edit, harm, protects, works
from ...running import Service

SEND = "return send_from_directory(STATIC, filename, max_age=STATIC_SECONDS)"
OUT = (
    *("../pages.py", "../../guards.py", "..%2fpages.py", "%2e%2e/pages.py", "%2e%2e%2fpages.py", "x/../../pages.py"),
    *("..%5cpages.py", "/etc/passwd", "%2fetc%2fpasswd", "....//pages.py", "bastion.css/../../pages.py"),
)


@protects(
    "health-reveals-nothing",
    listing=edit(
        "session/pages.py",
        SEND,
        'place = STATIC / filename\n    return " ".join(p.name for p in place.iterdir()) if place.is_dir() else ""',
    ),
)
def test_the_folder_of_static_files_is_not_listed(service: Service) -> None:
    client = service.client()
    works(client.get("/static/bastion/bastion.css").status == 200, "the stylesheet is served")
    for path in ("", "/", "/.", "/./", "/x/..", "//", "/%2e", "/*"):
        answer = client.get(f"/static/bastion{path}")
        harm("bastion.css" in answer.text.replace("/static/bastion/bastion.css", ""), f"{path!r} lists the folder")
        assert answer.status == 404


@protects("health-reveals-nothing", traversal=edit("session/pages.py", SEND, "return (STATIC / filename).read_text()"))
def test_no_path_leads_out_of_the_folder_of_static_files(service: Service, tmp_path: Path) -> None:
    client = service.client()
    works("color" in client.get("/static/bastion/bastion.css").text, "the stylesheet is served")
    service.app.static_folder = str(tmp_path)
    (tmp_path / "leaf.txt").write_text("of the team", encoding="utf-8")
    leaf = client.get("/static/leaf.txt")
    kept = leaf.header("Cache-Control") or ""
    works((leaf.text, kept.partition("=")[0]) == ("of the team", "public, max-age"), "the team's file is public")
    for path in OUT:
        for prefix in ("/static/bastion/", "/static/"):
            answer = client.get(prefix + path)
            if answer.location is not None:  # two slashes are one: the address is corrected, and tried again
                answer = client.get(answer.location)
            harm("import " in answer.text, f"{prefix}{path} shows source code")
            hidden = {"%2f", "%5c", "\\"} & {*re.findall(r"%2f|%5c|\\", path.lower())}
            assert answer.status == (400 if hidden else 404)
