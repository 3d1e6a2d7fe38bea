"""Edges of the proofs in test_source.py: further attacks on the same protections."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ..harness import edit, harm, insert, protects, works
from ..sabotage import in_a_fork
from ..service import AUTH
from ..test_source import BLIND, UNEQUAL, recognised

if TYPE_CHECKING:
    from ..running import Service


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
sessions = AuthSession.__table__.c
TOKENS: Final = ("jwt-", "refresh-")
def compare(token, row, code, error, kind, form):
    hmac.compare_digest(token, row.value)
    select(Link).where(sessions.token_hash == digest(token), Link.token_hash != digest(token))
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


@protects("no-dynamic-code", scanner=BLIND)
@protects("random-from-os", scanner=BLIND)
@protects("signed-values-sha256", scanner=BLIND)
@protects("compare-constant-time", scanner=UNEQUAL)
def test_the_checker_sees_every_construct_that_it_is_for() -> None:
    for kind, sample in {"code": CODE, "random": NUMBERS, "hash": HASHES, "compare": COMPARISONS}.items():
        recognised(kind, sample, HARMLESS)


@protects(
    "compare-constant-time",
    compare=edit(
        "secrets/secret.py",
        'hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))',
        "one == other",
    ),
)
def test_two_secrets_are_compared_as_a_whole(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    calls: list[bytes] = []
    compare = hmac.compare_digest

    def seen(one: bytes, other: bytes) -> bool:
        calls.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    same = service.module("secrets").same
    works(same("k\u00e9y" * 11, "k\u00e9y" * 11) is True, "equal texts are equal, whatever they contain")
    found = {other: same("k" * 43, other) for other in ("x" + "k" * 42, "k" * 42 + "x", "k" * 42, "")}
    harm(not calls, "the comparison ends at the first difference")
    assert set(found.values()) == {False}
    assert len(calls) == 5


# --- user input starts nothing ---------------------------------------------------------------------------------

TYPED = (
    *("{{ 7777 * 7 }}", "{{ config }}", "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}"),
    *("${7777*7}", "#{7777*7}", "<%= 7777*7 %>", "{0.__class__}", "{user.__class__}", "{self}", "%n%s%x", "%(user)s"),
    *(";id", "|id", "`id`", "$(id)", "&& id", "__import__('os').system('id')", "=cmd|' /C calc'!A0"),
)
PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "pty.spawn"}
)
_started: list[list[str]] = []


@pytest.fixture
def processes() -> Any:
    """Record the audit events with which this process starts another one."""
    if not _HOOKED:
        sys.addaudithook(
            lambda event, _arguments: _started[-1].append(event) if event in PROCESSES and _started else None
        )
        _HOOKED.append(True)
    _started.append([])
    yield _started[-1]
    _started.pop()


_HOOKED: list[bool] = []


def shown(service: Service, probe: Any, text: str) -> tuple[str, str]:
    """Return how pages or answers show this text as title, text, search and name, and its stored form."""
    user = service.user()
    client = service.client(user)
    client.agent = text
    client.login()
    item = probe.add(user, text, text)
    created = probe.create(client, title=text, body=text)
    account = client.get({"session": "/account", "jwt": "/auth/sessions"}[AUTH])
    answers = [created, account, probe.list(client), probe.list(client, q=text), probe.read(client, item)]
    return "\n".join(answer.text for answer in answers), str(probe.row(item))


TEMPLATE = {
    "session": edit(
        "session/account.py",
        "device_name(row.agent)}",
        '__import__("flask").render_template_string(row.agent)}',
    ),
    "jwt": edit("jwt/endpoints.py", "agent=row.agent,", 'agent=__import__("jinja2").Template(row.agent).render(),'),
}[AUTH]
FORMAT = {
    "session": edit(
        "session/account.py",
        "device_name(row.agent)}",
        'row.agent.replace("{{", "").replace("{%", "").replace("${", "").replace("#{", "")'
        ".format(row, user=row, self=row, config=row)}",
    ),
    "jwt": edit(
        "jwt/endpoints.py",
        "agent=row.agent,",
        'agent=row.agent.replace("{{", "").replace("{%", "").replace("${", "").replace("#{", "")'
        ".format(row, user=row, self=row, config=row),",
    ),
}[AUTH]
SHELL = {
    "session": edit("session/account.py", "device_name(row.agent)}", "str(_run(row))}"),
    "jwt": edit("jwt/endpoints.py", "agent=row.agent,", "agent=str(_run(row)),"),
}[AUTH]
EVALUATED = ("54439", "SECRET_KEY", "<class ", "sqlalchemy.engine", "<Config", "uid=")


@protects(
    "no-dynamic-code",
    template=TEMPLATE,
    format=FORMAT,
    command=(
        SHELL,
        insert(
            SHELL.path,
            after="from __future__ import annotations\n",
            new="\nimport subprocess\n\n\ndef _run(row):  # type: ignore\n"
            '    return subprocess.run(f"echo {row.agent} >/dev/null", shell=True, check=False).returncode\n\n',
        ),
    ),
)
def test_no_text_that_somebody_types_is_computed_or_run(service: Service, processes: list[str]) -> None:
    import subprocess

    probe = service.adds_probe()
    service.app  # noqa: B018
    subprocess.run([sys.executable, "-c", ""], check=True)
    works("subprocess.Popen" in processes, "the hook sees a started process")
    text, kept = shown(service, probe, "plain words")
    works(text.count("plain words") >= 4, "the service shows the text")
    works("plain words" in kept, "the longest texts are stored")
    processes.clear()
    for typed in TYPED:
        text, kept = shown(service, probe, typed)
        harm([one for one in EVALUATED if one in text], f"{typed!r} was evaluated")
        harm(processes, f"{typed!r} started a process")
        assert kept == repr((typed, typed))


# --- tokens can't be guessed -----------------------------------------------------------------------------------

MADE = "secrets.token_urlsafe(TOKEN_BYTES), uuid4()"
RANDOM = (
    edit("identity/sessions.py", MADE, '"".join(_random.choices("abcdefghijklmnopqrstuvwxyz", k=43)), uuid4()'),
    edit("identity/sessions.py", "import hashlib\n", "import hashlib\nimport random as _random\n"),
)


def makers(service: Service) -> dict[str, Callable[[], str]]:
    """Make each kind of unguessable value, without a request."""
    sessions, links = service.module("identity.sessions"), service.module("identity.links")
    headers, database = service.module("edge.headers"), service.module("database")
    user = service.user()

    def token() -> str:
        with service.app.app_context():
            return str(sessions.open_session(user.id, lifetime=timedelta(hours=1)).token)

    def link() -> str:
        class Due:
            purpose, email, user_id, session_id, inviter_id, roles = links.RESET, user.email, user.id, None, None, ""

        with service.app.app_context(), database.transaction() as connection:
            return str(links.mint(connection, Due()))

    found = {"session": token, "link": link, "nonce": lambda: str(headers.csp_nonce({}))}
    if AUTH == "jwt":
        refresh = service.module("jwt.refresh")

        def refresh_token() -> str:
            with service.app.app_context():
                opened = sessions.open_session(user.id, lifetime=timedelta(hours=1))
                return str(refresh.first_pair(opened).refresh_token)

        return {**found, "refresh": refresh_token}
    csrf = service.module("session.csrf")

    def form() -> str:
        from flask import session

        with service.app.test_request_context("/"):
            csrf.begin()
            return str(session[csrf.FIELD])

    return {**found, "form": form}


@protects(
    "random-from-os",
    source=RANDOM,
    length=edit("identity/sessions.py", MADE, "secrets.token_hex(4), uuid4()"),
)
def test_tokens_do_not_depend_on_time_or_process_state(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    made = makers(service)
    user = service.user()
    works(service.client(user).login(through_form=True).get("/").status, "a fresh token opens its flow")
    works(made["session"](), "each kind is made")
    monkeypatch.setattr(service.module("clock"), "_source", lambda: datetime(2030, 1, 1, tzinfo=UTC))
    twice: dict[str, list[str]] = {}
    for kind, make in made.items():
        for _ in range(2):
            service.rows("DELETE FROM auth_session")  # or the database would refuse the second of two equal ones
            random.seed(1)
            twice.setdefault(kind, []).append(make())
    harm([kind for kind, (one, other) in twice.items() if one == other], "two runs from one state make the same value")
    # 22 letters of base64url, or 32 of hexadecimal, are 128 bits.
    harm([kind for kind, values in twice.items() if min(map(len, values)) < 22], "a value has fewer than 128 bits")
    assert len(twice) >= 4


@protects("random-from-os")
def test_no_thread_and_no_forked_worker_repeats_a_value(service: Service) -> None:
    nonce: Any = service.module("edge.headers").csp_nonce
    works(len(nonce({})) == 32, "a value of 128 bits is made")
    with ThreadPoolExecutor(8) as pool:
        values = [value for part in pool.map(lambda _: [nonce({}) for _ in range(1250)], range(8)) for value in part]
    forked = [in_a_fork(lambda: [nonce({}) for _ in range(1000)]) for _ in range(2)]
    together = [*values, *forked[0], *forked[1]]
    harm(len(set(together)) < len(together), "a value was made twice")
    assert len(together) == 12_000
