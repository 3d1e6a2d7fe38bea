"""What the source of the service must not hold, and what follows from it: typed text is no code, tokens are no guess.

The checker is shown samples of each construct before it reads the service, so that an empty finding means something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import place
from .harness import edit, harm, insert, protects, works

if TYPE_CHECKING:
    pass


CODE = """
import pickle  # bad
import marshal, json  # bad
from xml.etree import ElementTree  # bad
from lxml import etree  # bad
import shelve as s  # bad
import os, re, subprocess, yaml, importlib
from os import system
from flask import render_template_string
from jinja2 import Template
def run(text, name, archive, env):
    eval(text)  # bad
    exec(text)  # bad
    compile(text, "x", "exec")  # bad
    __import__(text)  # bad
    importlib.import_module(f"plugins.{name}")  # bad
    os.system("ls " + name)  # bad
    system(name)  # bad
    os.popen(name)  # bad
    subprocess.run(f"ls {name}", shell=True)  # bad
    subprocess.getoutput(name)  # bad
    yaml.load(text)  # bad
    render_template_string(f"Hello {name}")  # bad
    Template(text)  # bad
    env.from_string(text)  # bad
    text.format(name=name)  # bad
    name.format_map({})  # bad
    archive.extractall("/tmp")  # bad
    re.compile(text)  # bad
    re.search("^" + name + "$", text)  # bad
    re.sub(rf"\\\\b{name}\\\\b", "", text)  # bad
"""
HARMLESS = """
import importlib, json, re, subprocess, secrets, hashlib, uuid
from string import Template
PACKAGE = "service"
TEXT = "Hello {name}"
PATTERN = re.compile(rb"[0-9.]{%d}" % (LONGEST + 1))
def run(text, name, moment, env):
    subprocess.run(["ls", "--", name], check=True)
    subprocess.run(["ls"], shell=False)
    importlib.import_module(f"{PACKAGE}.app")
    TEXT.format(name=name)
    "{} {}".format(name, text)
    re.compile("a" "b")
    re.search("^" + re.escape(name) + "$", text)
    PATTERN.search(text)
    json.loads(text)
    secrets.token_urlsafe(32), uuid.uuid4()
    hashlib.sha256(text), hashlib.new("sha3-256")
    env.get_template("page.html")
    Template("$name").substitute(name=name)
_s = AuthSession.__table__.c
TOKENS: Final = ("jwt-", "refresh-")
def compare(token, row, code, error, kind, form):
    hmac.compare_digest(token, row.value)
    select(Link).where(_s.token_hash == digest(token), Link.token_hash != digest(token))
    table.c.password_hash == row.password_hash
    kind.startswith(TOKENS)
    token is None or token == "" or len(token) == 43 or "=" in token or token.startswith("v1.")
    error.code not in MESSAGES or code == 404 or row.token_type == kind or row.secret_name in names or name == "code"
    row.country_code == form.country_code.data or form.key == row.key or row.token.kind == kind
"""
NUMBERS = """
import random  # bad
from random import choices  # bad
import uuid
def make(generator):
    uuid.uuid1()  # bad
    generator.getrandbits(128)  # bad
"""
HASHES = """
import hashlib
from hashlib import sha1
from hashlib import md5 as digest
def make(text, signer):
    hashlib.md5(text)  # bad
    hashlib.sha1(text, usedforsecurity=False)  # bad
    sha1(text)  # bad
    digest(text)  # bad
    hashlib.new("MD5", text)  # bad
    hashlib.new(text)  # bad
    signer(text, digest_method=hashlib.sha1)  # bad
"""
COMPARISONS = """
import hmac, operator
from operator import eq
def check(token, form, request, session, user, given, code, row):
    if token == row.value:  # bad
        return given.startswith(token)  # bad
    if session["csrf_token"] != request.form.get("anything"):  # bad
        return given == request.headers.get("X-Api-Token", "")  # bad
    hmac.new(KEY, given, "sha256").hexdigest() == given  # bad
    given in (request.signature, "")  # bad
    form.code.data == row.text  # bad
    code == row.expected  # bad
    code in user.recovery_codes  # bad
    given == user.passwordHash.encode()  # bad
    row.token_hash == digest(token)  # bad
    f"Bearer {token}" == given  # bad
    os.environ["API_KEY"] == given[:8]  # bad
    (user.id, token) == (given, given)  # bad
    eq(secret.reveal(), given)  # bad
    operator.ne(given, mac)  # bad
    token.__eq__(given)  # bad
    given == token[:8]  # bad
    select(Link).where(Link.token == given)  # bad
    match_of = [one for one in given if one.otp == given]  # bad
"""
BLIND = insert(
    "/tests/proofs/source_scan.py", after="def visit_Call(self, node: ast.Call) -> None:\n", new="        return\n"
)


def marked(sample: str) -> set[int]:
    return {number for number, line in enumerate(sample.splitlines(), 1) if line.endswith("# bad")}


def scans(kind: str, sample: str) -> list[str]:
    """What the service holds of this kind, after the checker was right about a bad and a harmless sample."""
    from .source_scan import Checker, check, reported

    works(Checker(HARMLESS).faults == [], "harmless code passes")
    missed = marked(sample) - {*reported(sample, kind)}
    harm(missed, f"the checker does not see {[sample.splitlines()[line - 1].strip() for line in sorted(missed)]}")
    assert {*reported(sample, kind)} == marked(sample)
    looked_at, faults = check(place.source())
    assert len(looked_at) >= 20
    assert looked_at["bastion/identity/login.py"] >= 20
    assert "app.py" in looked_at  # the team's
    return faults[kind]


@protects(
    "no-dynamic-code",
    scanner=BLIND,
    service=edit(
        "strict_json.py",
        "        parsed = json.loads(\n",
        "        json.loads(str(eval(text)))\n        parsed = json.loads(\n",
    ),
)
def test_no_module_makes_code_of_data() -> None:
    found = scans("code", CODE)
    harm(found, f"data could become code: {found}")


@protects(
    "random-from-os",
    scanner=BLIND,
    service=edit("identity/sessions.py", "import hashlib\n", "import hashlib\nimport random as _\n"),
)
def test_no_module_knows_a_source_of_numbers_that_can_be_guessed() -> None:
    found = scans("random", NUMBERS)
    harm(found, f"a value could be guessed: {found}")


@protects(
    "signed-values-sha256",
    scanner=BLIND,
    service=edit("identity/sessions.py", "    return hashlib.sha256(token", "    return hashlib.sha1(token"),
)
def test_no_module_hashes_with_what_is_broken() -> None:
    found = scans("hash", HASHES)
    harm(found, f"a broken hash is used: {found}")


@protects(
    "compare-constant-time",
    scanner=edit(
        "/tests/proofs/source_scan.py",
        "        for left, right in _pairs(node):\n",
        "        for left, right in ():\n",
    ),
    compare=edit("guards.py", "same(key.text, other.text)", "key.reveal() == other.reveal()"),
)
def test_no_module_compares_a_secret_in_a_time_that_tells_of_it() -> None:
    found = scans("compare", COMPARISONS)
    harm(found, f"a secret can be found piece by piece: {found}")
