"""Team code: no request chooses a redirect target, a file, a URL that the service fetches, or another user's row.

The checker is shown samples of each before it reads the service, so that an empty finding means something; and samples
of what is right and looks alike, since a check that cries wolf is soon passed over.
"""

from __future__ import annotations

import ast

from . import place
from .harness import edit, harm, insert, protects, works

# What each kind of finding is shown: a line that ends in "# bad" must be found, and no other. The edges show more.
BEFORE = """
import os, requests
from pathlib import Path
from flask import redirect, request, send_file
class Letter(Owned, Base): ...
"""
REDIRECTS = """
@blueprint.get("/go/<path:target>")
@public
def go(target: str):
    redirect(request.args["next"])  # bad
    redirect(location=target)  # bad
    redirect(safe_next(request.args.get("next"), "/"))
    redirect(f"/notes/{target}")
"""
FILES = """
@blueprint.post("/files/<name>")
@login_required
def files(name):
    open(os.path.join(FOLDER, name), "rb")  # bad
    send_file(request.args["file"])  # bad
    open(safe_join(FOLDER, name))
"""
ADDRESSES = """
@blueprint.post("/ask")
@login_required
def ask(body: Hook):
    requests.get(body.address, timeout=3)  # bad
    requests.get(f"{PARTNER}/things/{body.name}", timeout=3)
    safe_fetch(body.address)
    safe_fetch(request.args["url"])
"""
ROWS = """
@blueprint.get("/letters/<uuid:letter_id>")
@login_required
def read(letter_id: UUID):
    db.session.get(Letter, letter_id)  # bad
    letter = owned_or_404(Letter, letter_id)
    owned(Letter).where(Letter.id == letter_id)
"""
SAMPLES = {"redirect": REDIRECTS, "file": FILES, "outbound": ADDRESSES, "owner": ROWS}


def marked(sample: str) -> set[int]:
    return {number for number, line in enumerate(sample.splitlines(), 1) if line.endswith("# bad")}


def recognised(before: str, samples: dict[str, str]) -> None:
    """The checker is right about each line of the samples."""
    from .request_scan import found, known

    for kind, sample in samples.items():
        tree, lines = ast.parse(before + sample), (before + sample).splitlines()
        seen = [(one.kind, one.line) for one in found(tree, known([tree]))]
        wrong = [lines[line - 1].strip() for _, line in seen if line not in marked(before + sample)]
        works(wrong == [], f"the checker accepts safe code: {wrong}")
        missed = sorted(marked(before + sample) - {line for _, line in seen})
        harm(missed, f"the checker missed {[lines[line - 1].strip() for line in missed]}")
        assert {of for of, _ in seen} == {kind}


def left_to_requests(kind: str) -> list[str]:
    """What the service leaves to requests, after the checker was right about every line of the samples."""
    from .request_scan import check

    recognised(BEFORE, SAMPLES)
    looked_at, faults = check(place.source())
    assert looked_at >= 400
    return faults[kind]


VIEW = "\n\n@public\ndef security_txt() -> Response:\n"


@protects(
    "request-chooses-no-target",
    scanner=insert(
        "/tests/proofs/request_scan.py",
        after='"""What the request decides about in this function."""\n',
        new="        return\n",
    ),
    redirect=edit(
        "request/security_txt.py",
        VIEW,
        '\n\n@public\ndef onward() -> object:\n    wanted = request.args.get("next", "/")\n'
        f'    return __import__("flask").redirect(wanted)\n{VIEW}',
    ),
)
def test_no_request_chooses_where_a_redirect_leads() -> None:
    found = left_to_requests("redirect")
    harm(found, f"a request chooses the target of a redirect: {found}")


@protects(
    "request-chooses-no-target",
    file=edit(
        "request/security_txt.py",
        VIEW,
        f'\n\n@public\ndef policy(name: str) -> str:\n    return open(f"/srv/{{name}}").read()\n{VIEW}',
    ),
)
def test_no_request_chooses_which_file_is_opened() -> None:
    found = left_to_requests("file")
    harm(found, f"a request can open any file of the machine: {found}")


@protects(
    "request-chooses-no-target",
    outbound=edit(
        "request/security_txt.py",
        VIEW,
        "\n\n@public\ndef preview() -> object:\n    import urllib.request\n\n"
        f'    return urllib.request.urlopen(request.args["address"])\n{VIEW}',
    ),
)
def test_no_request_chooses_whom_the_service_asks() -> None:
    found = left_to_requests("outbound")
    harm(found, f"a request can reach internal hosts through the service: {found}")


@protects(
    "request-chooses-no-target",
    owner=edit(
        "request/security_txt.py",
        VIEW,
        "\n\nclass Letter(Owned):\n    pass\n\n\n@login_required\ndef letter(letter_id: str) -> object:\n"
        f"    return db.session.get(Letter, letter_id)\n{VIEW}",
    ),
)
def test_no_request_chooses_a_row_of_somebody_else() -> None:
    found = left_to_requests("owner")
    harm(found, f"a user can read another user's row by its id: {found}")


def test_each_declared_exception_is_for_something_that_is_found() -> None:
    """An unused exception would hide the next mistake in that function."""
    from .request_scan import check

    assert check(place.source())[1]["unused"] == []
