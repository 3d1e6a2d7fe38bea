"""What a person does in a terminal: from the README of a token service to a confirmed account, with curl alone."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pyotp
import pytest

from journeys.running import SECONDS, Running, environment

PASSWORD = "nine otters read a tall map"
PLACEHOLDER = '"..."'


def curl(line: str) -> Any:
    """Run one line as it was read, and give the JSON of its answer."""
    words = shlex.split(line)
    assert words[0] == "curl"
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True, timeout=SECONDS)
    return json.loads(done.stdout) if done.stdout.strip() else None


def shown(api: Running, pattern: str) -> str:
    """The newest line of the service's terminal that looks like this."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if found := re.findall(pattern, api.log.read_text(encoding="utf-8"), re.MULTILINE):
            return str(found[-1])
        time.sleep(0.2)
    raise AssertionError(f"the terminal shows no {pattern}:\n{api.log.read_text()[-3000:]}")


def present(app: pyotp.TOTP) -> str:
    """The code of this moment, when it is still good for a while."""
    while time.time() % app.interval > app.interval - 10:
        time.sleep(0.2)
    return app.now()


def lines_of_the_readme(api: Running) -> list[str]:
    """The commands of the README's first section, at this service's own port."""
    text = api.service.read("README.md").partition("## The first ten minutes")[2].partition("\n## ")[0]
    commands = re.findall(r"^ {4}(curl (?:.*\\\n)*.*)$", text, re.MULTILINE)
    return [command.replace("\\\n", " ").replace("localhost:8000", f"localhost:{api.port}") for command in commands]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine: install Debian's package `curl`")
def test_the_readme_leads_from_nothing_to_a_confirmed_account(api: Running) -> None:
    register, activate, login, notes, refresh, logout, *_ = lines_of_the_readme(api)
    assert "confirmed" not in str(curl(register))
    hint = shown(api, r"^curl -s \S+/auth/activate .*$")
    token = json.loads(shlex.split(hint)[-1])["token"]
    assert shlex.split(hint)[:3] == shlex.split(activate.replace("localhost", "http://localhost"))[:3]
    assert curl(activate.replace("...", token)) is None
    pair = curl(login)
    listed = curl(notes.replace("$ACCESS_TOKEN", pair["access_token"]))
    assert listed["items"] == []
    second = curl(refresh.replace("...", pair["refresh_token"]))
    assert curl(logout.replace("$ACCESS_TOKEN", second["access_token"])) is None
    assert curl(notes.replace("$ACCESS_TOKEN", second["access_token"]))["status"] == 401


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine: install Debian's package `curl`")
def test_the_readme_leads_an_administrator_to_a_second_factor(api: Running) -> None:
    *_, login, notes, _, _, begin, confirm, complete = (
        line.replace("you@example.com", "ada@example.com") for line in lines_of_the_readme(api)
    )
    made = api.command("users", "create", "ada@example.com", "--role", "admin")
    [activate] = re.findall(r"^curl -s \S+/auth/activate .*$", made, re.MULTILINE)
    assert curl(activate.replace(PLACEHOLDER, f'"{PASSWORD}"')) is None
    users = notes.replace("/notes", "/auth/users")
    pair = curl(login)
    told = curl(users.replace("$ACCESS_TOKEN", pair["access_token"]))
    assert told["status"] == 403
    assert "POST /auth/totp" in told["errors"][0]["detail"]

    app = pyotp.TOTP(curl(begin.replace("$ACCESS_TOKEN", pair["access_token"]))["secret"])
    enrolled = curl(confirm.replace("$ACCESS_TOKEN", pair["access_token"]).replace("...", present(app)))
    assert len(enrolled["recovery_codes"]) == 10
    assert curl(users.replace("$ACCESS_TOKEN", enrolled["access_token"]))["items"]

    waits = curl(login)
    assert "access_token" not in waits
    assert {*waits["factors"]} == {"totp", "recovery-code"}
    code = enrolled["recovery_codes"][0]  # that of the app was used a moment ago
    pair = curl(complete.replace("...", waits["mfa_token"], 1).replace("...", code))
    assert curl(users.replace("$ACCESS_TOKEN", pair["access_token"]))["items"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine: install Debian's package `curl`")
def test_a_forgotten_password_is_replaced_with_the_line_that_the_terminal_shows(api: Running) -> None:
    made = api.command("users", "create", "grace@example.com")
    [activate] = re.findall(r"^curl -s \S+/auth/activate .*$", made, re.MULTILINE)
    assert curl(activate.replace(PLACEHOLDER, f'"{PASSWORD}"')) is None
    address, kind = f"http://localhost:{api.port}/auth", "-H 'Content-Type: application/json'"
    curl(f'curl -s {address}/reset {kind} -d \'{{"email": "grace@example.com"}}\'')
    other = "seven slow boats cross a bay"
    assert curl(shown(api, r"^curl -s \S+/auth/reset/complete .*$").replace(PLACEHOLDER, f'"{other}"')) is None
    body = json.dumps({"identifier": "grace@example.com", "password": other})
    assert "access_token" in curl(f"curl -s {address}/login {kind} -d '{body}'")


def test_a_typo_in_an_edit_ends_dev_no_more_than_a_good_one(api: Running) -> None:
    entry = api.service.path / "src/my_service/app.py"
    before = entry.read_text(encoding="utf-8")
    assert answers(api, 200) == "ok"
    entry.write_text(f"{before}\ndef (\n", encoding="utf-8")
    assert "the terminal says where" in answers(api, 503)
    assert shown(api, r"^SyntaxError: .*$")
    entry.write_text(before, encoding="utf-8")
    assert answers(api, 200) == "ok"


def test_a_revision_before_the_first_upgrade_compares_with_tables(api: Running) -> None:
    fresh = f"sqlite:///{api.service.path / 'instance/fresh.db'}"
    assert "Nothing to write" in api.command("db", "revision", "nothing", DATABASE_URL=fresh)


def answered(address: str) -> Any:
    """The answer, whatever its status."""
    try:
        return urllib.request.urlopen(address, timeout=SECONDS)  # noqa: S310  (its own address)
    except urllib.error.HTTPError as error:
        return error


def answers(api: Running, status: int) -> str:
    """What the service says as soon as it answers with this status."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found, text = 0, ""
        # Between two processes nobody listens, and one that ends may do so in the middle of its answer.
        with suppress(OSError, HTTPException), answered(f"{api.origin}/healthz") as answer:
            found, text = answer.status, str(answer.read(), "utf-8").strip()
        if found == status:
            return text
        time.sleep(0.2)
    raise AssertionError(f"no answer with {status}:\n{api.log.read_text()[-3000:]}")
