"""Proofs of secrets/: a secret that its backend does not hold stops the start, and no other value replaces it.

They stop a built-in key, or one that somebody left in another place, from signing in production.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environment import WHERE as BACKEND_WHERE
from .environment import Stub, stubbed
from .harness import edit, harm, protects, works
from .running import Service, collecting
from .service import AUTH, DATABASE, SECRETS

if TYPE_CHECKING:
    import pytest

    from .wire import Response


CANARY = "canary-of-a-secret"
WHERE = {
    "env": "the environment (env)",
    "files": "files:",
    "vault": "Vault (vault:",
    "aws": "AWS Secrets Manager (aws:",
    "gcp": "Google Secret Manager (gcp:",
    "azure": "Azure Key Vault (azure:",
}
# As random as a key, but the same in each run: the search below misses one real key of fifty, which says little of it.
_BYTES = hashlib.sha256(b"a new key").digest()
NEW_KEY = base64.urlsafe_b64encode(_BYTES).rstrip(b"=").decode()
IS_FILE = "if file.is_file()"
BUILT_IN = "Found(Secret(__import__('hashlib').sha256(name.encode()).hexdigest()))"
"""What everybody knows who reads the source; as random as a key, so that no other check refuses it."""


@protects(
    "secret-missing-named-error",
    missing=edit(
        "secrets/kept.py",
        'raise SecretMissing(name, self.where if why is None else f"{self.where}, where it {why}")',
        f"return {BUILT_IN}",
    ),
)
def test_no_required_secret_can_be_absent_and_none_of_the_others_is_shown(service: Service) -> None:
    names = required(service)
    works(service.start().app is not None, "the service starts with all secrets present")
    for name in names:
        tried = service.start(**{name: None})
        harm(tried.app is not None, f"the service started without {name}")
        assert len(tried.reasons) == 1
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")
        assert tried.reasons[0].endswith(". Set it there.")
        assert shown(service, tried.text) == []
    (told,) = service.start(BASTION_ENV="development", **{names[0]: None}).reasons
    assert told.endswith(f". Set it there, or write it to instance/secrets/{names[0]}.")


@protects(
    "secrets-never-shown",
    config=edit("database/__init__.py", '    del app.config["SQLALCHEMY_ENGINES"]', "    pass"),
)
def test_what_prints_its_configuration_prints_no_secret_but_the_keys_that_flask_signs_with(service: Service) -> None:
    app = service.app
    works(service.client(service.user()).login().get("/readyz").status == 200, "the service connects to the database")
    used = {"SECRET_KEY"}
    address = service.database.url.partition("@")[2] or service.database.url
    hidden = {name: value for name, value in service.environment.secrets.items() if name not in used}
    assert "DATA_KEY" in hidden
    texts = [repr(app.config), json.dumps(dict(app.config), default=str), str(vars(app.extensions["bastion"].settings))]
    found = [name for name, value in hidden.items() if value in "".join(texts)]
    harm([*found, *(["the database's address"] if address in "".join(texts[:2]) else [])], "the config shows a secret")
    assert shown(service, repr(app.extensions["bastion"])) == []


if SECRETS == "env":

    @protects("secret-env-scrubbed", scrub=edit("secrets/env.py", "os.environ.pop(name)", "os.environ[name]"))
    def test_no_program_that_this_one_starts_inherits_a_secret(service: Service) -> None:
        service.setting("SMTP_PASSWORD", f"smtp-{CANARY}")
        service.setting("PAYMENT_TOKEN", f"payment-{CANARY}")  # the team's own
        given = {**service.environment.secrets, "PAYMENT_TOKEN": f"payment-{CANARY}"}
        with service.app.app_context():
            for name, value in given.items():
                for _ in range(2):
                    works(service.module("secrets").get(name).reveal() == value, "the service reads each secret")
        printed = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True).stdout
        works("BASTION_TRUSTED_HOSTS=" in printed, "a child process inherits the settings")
        harm([name for name, value in given.items() if value in printed], "a child process inherited a secret")
        assert [name for name in given if name in os.environ] == []
        assert service.start().app is not None  # the environment that a deployment gives starts it again


if SECRETS == "files":

    class Folder:
        """A folder of secrets, in a place that is neither in memory nor read-only unless a proof says so."""

        def __init__(self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
            self.module, self.monkeypatch = service.module("secrets.files"), monkeypatch
            self.path = tmp_path / "secrets"
            self.path.mkdir(mode=0o700)
            self.mounts = tmp_path / "mountinfo"
            monkeypatch.setattr(self.module, "MOUNTS", self.mounts)
            self.mounted("ext4")

        def mounted(self, kind: str) -> None:
            device = self.path.stat().st_dev
            line = f"36 35 {os.major(device)}:{os.minor(device)} / /run/secrets rw,noatime - {kind} none rw\n"
            self.mounts.write_text(f"22 1 0:99 / /proc rw - proc proc rw\n{line}", "utf-8")

        def write(self, name: str, text: str = CANARY, mode: int = 0o400) -> Path:
            file = self.path / name
            file.write_text(text, "utf-8")
            file.chmod(mode)
            return file

        @property
        def opened(self) -> Any:
            """As at a start: nothing is kept of what was read before."""
            return self.module.open_secrets(self.module.Settings(BASTION_SECRETS_DIR=str(self.path)))

        def read(self, name: str) -> str | None:
            found = self.opened.find(name)
            return None if found is None else str(found.reveal())

    @protects(
        "secret-files-safe",
        name=edit("secrets/files.py", "    if not NAME.match(name):\n        return None\n", ""),
        containment=edit("secrets/files.py", "if file.is_relative_to(folder.resolve()) and file.is_file()", IS_FILE),
        size=edit("secrets/files.py", "LARGEST: Final = 65_536", "LARGEST: Final = 10**9"),
    )
    def test_only_plain_files_directly_in_the_folder_are_read(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Folder(service, tmp_path, monkeypatch)
        folder.write("API_KEY", f"{CANARY}\r\n\n")
        works(folder.read("API_KEY") == f"{CANARY}\r\n", "a secret file is read without its last newline")
        (folder.path / "..2026").mkdir(mode=0o700)
        folder.write("..2026/TOKEN")
        (folder.path / "..data").symlink_to("..2026")
        (folder.path / "TOKEN").symlink_to("..data/TOKEN")
        works(folder.read("TOKEN") == CANARY, "a symlink within the folder is followed, as in Kubernetes mounts")
        outside = tmp_path / "OUTSIDE"
        outside.write_text(CANARY, "utf-8")
        outside.chmod(0o400)
        (folder.path / "LINK").symlink_to(outside)
        (folder.path / "FOLDER").mkdir()
        folder.write("lower-case.txt")
        folder.write("LARGE", CANARY.ljust(65_537))
        for name in ("lower-case.txt", "LINK", "../OUTSIDE", "LARGE", "..data/TOKEN", f"A{'B' * 64}", "FOLDER", ""):
            harm(folder.read(name), f"the service read the unsafe file {name}")
            with pytest_raises(service):
                folder.opened.get(name)
        folder.write("AS_LARGE", CANARY.ljust(65_536))
        assert folder.read("AS_LARGE") == CANARY.ljust(65_536)

    def pytest_raises(service: Service, match: str = "not found in files:") -> Any:
        import pytest

        return pytest.raises(service.module("secrets").SecretMissing, match=match)


# --- the repository -----------------------------------------------------------------------------------------------

CANARIES = (
    *(".env", ".env.production", "deploy/.env", "instance/secrets/SECRET_KEY", "instance/data.sqlite", "tls.key"),
    *("deploy/tls.pem", "data.sqlite", "backup.sqlite3", "var/data.sqlite-wal", "backups/monday.sql", "dump.dump"),
)
"""Where secrets and copies of the data lie in a folder that somebody works in."""
KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{100,}")
QUOTED = re.compile(r"""["']([A-Za-z0-9+/_-]{32,})={0,2}["']""")
ASSIGNED = re.compile(r"^[ \t]*\w+[ \t]*[=:][ \t]*([A-Za-z0-9+/_-]{32,})={0,2}[ \t]*$", re.MULTILINE)


def entropy(text: str) -> float:
    """Bits a character, by how often each occurs: above 4.2 for random base64url, above 3.5 for random hex."""
    return -sum(n / len(text) * log2(n / len(text)) for n in Counter(text).values())


def keys_in(text: str) -> list[str]:
    """What looks like a key: a private key in PEM, or a value of 32 characters and more that looks random."""
    found = [block[:40] for block in KEY_BLOCK.findall(text)]
    for value in (*QUOTED.findall(text), *ASSIGNED.findall(text)):
        needed = 3.3 if re.fullmatch(r"[0-9a-fA-F]+", value) else 4.2
        words = max(map(len, re.findall(r"[a-z]+|[A-Z]+", value)), default=0)
        if entropy(value) > needed and words < 8 and re.search(r"\d", value):
            found.append(value)
    return found


def tracked(service: Service, folder: Path) -> Path:
    """A copy of the service in a repository of its own, with everything added that git does not ignore."""
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "instance", "node_modules")
    shutil.copytree(service.root, folder, symlinks=False, ignore=left_out)
    for name in CANARIES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"SECRET_KEY={CANARY}\n", "utf-8")
    git = shutil.which("git") or "git"
    for arguments in (("init", "--quiet"), ("add", "--all")):
        subprocess.run([git, "-c", "core.excludesFile=/dev/null", *arguments], cwd=folder, check=True)  # noqa: S603
    return folder


@protects(
    "secrets-not-in-tree",
    git=edit("/.gitignore", ".env\n.env.*\n", ""),
    key=edit("commands/dev.py", "return secrets.token_urlsafe(32)", f'return "{NEW_KEY}"'),
)
def test_the_repository_holds_no_secret(service: Service, tmp_path: Path) -> None:
    works(keys_in(f'KEY = "{NEW_KEY}"\n') == [NEW_KEY], "the scanner finds a key in a text")
    folder = tracked(service, tmp_path / "copy")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    files = listed.stdout.strip("\0").split("\0")
    works("pyproject.toml" in files, "the repository contains the service's files")
    harm([name for name in files if name in CANARIES], "a secret or a copy of the data would be committed")
    texts = {name: (folder / name).read_text("utf-8", "replace") for name in files if not name.endswith(".lock")}
    published = service.module("jwt.keys").PUBLISHED if AUTH == "jwt" else ()  # by standards; a start with them stops
    public = {*published, service.module("chosen").COMMIT}
    found = {name: keys for name, text in texts.items() if (keys := {*keys_in(text)} - public)}
    harm(found, f"the repository contains a key: {sorted(found)}")


def required(service: Service) -> list[str]:
    """The secrets without which this service does not start, first the one that nothing else looks at."""
    names = sorted(service.environment.secrets, key=lambda name: (name != "SECRET_KEY", name))
    assert len(names) >= 2
    assert "SECRET_KEY" in names
    return names


def shown(service: Service, text: str) -> list[str]:
    """The secrets whose value is in the text."""
    return [name for name, value in service.environment.secrets.items() if value in text]


# --- a backend that is away, and a value that was replaced -----------------------------------------------------------


NAME = "PARTNER_API_KEY"
FIRST, SECOND = "the-first-value-of-it", "the-second-value-of-it"


def adds_reader(service: Service) -> list[str]:
    """A public route that needs a secret, and tells it to the proof alone."""
    used: list[str] = []

    def view() -> str:
        used.append(service.module("secrets").get(NAME).reveal())
        return "used"

    service.adds_route("/needs-a-secret", mark="public", view=view)
    return used


def ask(service: Service) -> Response:
    return service.client().get("/needs-a-secret")


def started(service: Service, stub: Stub) -> list[str]:
    stub.values[NAME] = FIRST
    used = adds_reader(service)
    works(ask(service).status == 200, "a view uses the secret")
    works(used == [FIRST], "the view reads the backend's value")
    used.clear()
    return used


@protects(
    "secret-rotation-picked-up",
    cache=edit("secrets/kept.py", "return not _within(seconds() - self.asked_at, self.pause)", "return not self.last"),
)
def test_a_value_that_was_replaced_is_not_used_after_five_minutes(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        questions = len(stub.asked)
        works(ask(service).status == 200, "a second request uses the cached secret")
        works(stub.asked[questions:].count(NAME) == 0, "the second request does not ask the backend")
        stub.values[NAME] = SECOND
        service.travel(seconds=301)
        used.clear()
        assert ask(service).status == 200
        harm(FIRST in used, "the service still used the old value after five minutes")
        assert used == [SECOND]


@protects(
    "secret-backend-down-at-boot",
    boot=edit("__init__.py", "    except secrets.SecretUnavailable as away:\n        reasons.append(", "    except secrets.SecretUnavailable as away:\n        [*reasons].append("),  # noqa: E501
)  # fmt: skip
def test_no_start_goes_on_without_an_answer_of_the_backend(service: Service) -> None:
    with stubbed(service) as stub:
        stub.goes_down(times=1)
        works(service.start().app is not None, "the service waits for the end of a short outage")
        stub.goes_down("refuses this service (forbidden)", only="SMTP_PASSWORD")
        tried = service.start()
        harm(tried.app is not None, "the service started without reading SMTP_PASSWORD")
        told = f"SECRET 'SMTP_PASSWORD' can't be read: {BACKEND_WHERE} refuses this service (forbidden)"
        assert [reason.partition(". ")[0] for reason in tried.reasons] == [told]


@protects(
    "secret-backend-down-at-run",
    stale=edit("secrets/kept.py", "        if not kept.counts():\n", "        if False:\n"),
)
def test_an_hour_after_the_last_answer_nothing_stands_in_for_a_secret(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        stub.goes_down()
        service.travel(seconds=3500)
        works(ask(service).status == 200, "the last value is used for an hour")
        used.clear()
        service.travel(seconds=101)
        answer = ask(service)
        harm(used, f"a view used {used!r} more than an hour after the last answer")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")


# --- what fails tells no secret --------------------------------------------------------------------------------------


CALLS = "        return super().handle_user_exception(e)"
UNCLEARED = edit("__init__.py", f"        log.forget_locals(e)\n{CALLS}", CALLS)


def known(service: Service, text: str) -> list[str]:
    """The secrets that can be read in a text, as they are or as the bytes that they are handed on as."""
    return sorted(name for name, value in service.environment.secrets.items() if value in text)


def fails_in_the_library(*_arguments: object, **_more: object) -> None:
    raise RuntimeError("no memory")


@protects("secrets-never-shown", locals=UNCLEARED)
def test_no_collector_of_errors_gets_a_key_with_the_variables_of_a_stack(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signs() -> str:
        return str(service.module("crypto.signing").sign("a-purpose", "a value"))

    service.adds_route("/signs", mark="public", view=signs)
    visitor = service.client()
    works(visitor.get("/signs").status == 200, "the service signs a value")
    with collecting() as collector, monkeypatch.context() as broken:
        broken.setattr(hmac, "new", fails_in_the_library)
        answer = visitor.get("/signs")
    works("no memory" in collector.text, "the error collector receives the library's error")
    harm(known(service, collector.text), "the collected stack variables contain a secret")
    assert answer.status == 500
    assert known(service, service.output + answer.text) == []


if DATABASE != "sqlite":

    @protects("secrets-never-shown", locals=UNCLEARED)
    def test_no_collector_of_errors_gets_the_password_of_a_database_that_is_away(service: Service) -> None:
        service.adds_route("/probe")
        client = service.client(service.user()).login()
        works(client.get("/probe").status == 200, "the service reaches the database")
        service.take_database_away()
        with collecting() as collector:
            answer = client.get("/probe")
        works("OperationalError" in collector.text, "the error collector receives the connection error")
        harm(known(service, collector.text), "the collected driver variables contain the password")
        assert answer.status == 503
        assert known(service, service.output + answer.text) == []
