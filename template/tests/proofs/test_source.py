"""Source checks: no dynamic code, guessable random numbers, broken hashes or variable-time secret comparisons.

The checker is shown samples of each construct before it reads the service, so that an empty finding means something.
"""

from __future__ import annotations

from . import place
from .harness import edit, harm, insert, protects, works

# A line that ends in "# bad" must be found, and no line of HARMLESS. The edges show every construct.
CODE = """
import pickle  # bad
import os, re, subprocess
def run(text, name, archive):
    eval(text)  # bad
    os.system("ls " + name)  # bad
    subprocess.run(f"ls {name}", shell=True)  # bad
    render_template_string(f"Hello {name}")  # bad
    archive.extractall("/tmp")  # bad
"""
NUMBERS = """
import random  # bad
import uuid
uuid.uuid1()  # bad
"""
HASHES = """
import hashlib
hashlib.md5(text)  # bad
hashlib.new(text)  # bad
"""
COMPARISONS = """
def check(token, form, request, given, row):
    if token == row.value:  # bad
        return given == request.headers.get("X-Api-Token", "")  # bad
    form.code.data == row.text  # bad
"""
HARMLESS = """
import hashlib, json, re, subprocess, secrets, hmac
def run(text, name, token, row, code):
    subprocess.run(["ls", "--", name], check=True)
    re.search("^" + re.escape(name) + "$", text)
    json.loads(text), secrets.token_urlsafe(32), hashlib.sha256(text)
    hmac.compare_digest(token, row.value)
    token is None or token == "" or len(token) == 43 or code == 404
"""
BLIND = insert(
    "/tests/proofs/source_scan.py", after="def visit_Call(self, node: ast.Call) -> None:\n", new="        return\n"
)
UNEQUAL = edit(
    "/tests/proofs/source_scan.py", "        for left, right in _pairs(node):\n", "        for left, right in ():\n"
)


def marked(sample: str) -> set[int]:
    return {number for number, line in enumerate(sample.splitlines(), 1) if line.endswith("# bad")}


def recognised(kind: str, sample: str, harmless: str) -> None:
    """The checker is right about a bad and a harmless sample."""
    from .source_scan import Checker, reported

    works(Checker(harmless).faults == [], "the checker accepts harmless code")
    missed = marked(sample) - {*reported(sample, kind)}
    harm(missed, f"the checker missed {[sample.splitlines()[line - 1].strip() for line in sorted(missed)]}")
    assert {*reported(sample, kind)} == marked(sample)


def scans(kind: str, sample: str) -> list[str]:
    """What the service holds of this kind, after the checker was right about the samples."""
    from .source_scan import check

    recognised(kind, sample, HARMLESS)
    looked_at, faults = check(place.source())
    assert len(looked_at) >= 20
    assert looked_at["bastion/identity/login.py"] >= 20
    assert "app.py" in looked_at  # the team's
    return faults[kind]


@protects(
    "no-dynamic-code",
    scanner=BLIND,
    service=edit(
        "text/strict_json.py",
        "        parsed = json.loads(\n",
        "        json.loads(str(eval(data)))\n        parsed = json.loads(\n",
    ),
)
def test_no_module_makes_code_of_data() -> None:
    found = scans("code", CODE)
    harm(found, f"the service can run data as code: {found}")


@protects(
    "random-from-os",
    scanner=BLIND,
    service=edit("identity/sessions.py", "import hashlib\n", "import hashlib\nimport random as _\n"),
)
def test_no_module_knows_a_source_of_numbers_that_can_be_guessed() -> None:
    found = scans("random", NUMBERS)
    harm(found, f"an attacker can guess a random value: {found}")


@protects(
    "signed-values-sha256",
    scanner=BLIND,
    service=edit("identity/sessions.py", "    return hashlib.sha256(token", "    return hashlib.sha1(token"),
)
def test_no_module_hashes_with_what_is_broken() -> None:
    found = scans("hash", HASHES)
    harm(found, f"the service uses a broken hash: {found}")


@protects(
    "compare-constant-time",
    scanner=UNEQUAL,
    compare=edit("start/guards.py", "same(key.text, other.text)", "key.reveal() == other.reveal()"),
)
def test_no_module_compares_a_secret_in_a_time_that_tells_of_it() -> None:
    found = scans("compare", COMPARISONS)
    harm(found, f"an attacker can recover a secret by timing comparisons: {found}")
