"""Proofs of secrets/: a secret that is not where this service keeps its secrets stops the start, and nothing steps in.

They stop a built-in key, or one that somebody left in another place, from signing in production.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from math import log2
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from . import environment
from .harness import Edit, edit, harm, protects, works
from .running import Service
from .service import AUTH, PACKAGE, SECRETS

if TYPE_CHECKING:
    import pytest

CANARY = "canary-of-a-secret"
OPTIONAL = ("BASTION_SECRET_KEY_FALLBACKS", "DATA_KEY_FALLBACKS", "SMTP_PASSWORD")
SHOWN = "def {} -> str:\n        return self.__value"
UNREAD = "if file is None or _fault(folder, file) is not None:\n            "
ABSENT = 'in ((404, "NOT_FOUND"), (400, "FAILED_PRECONDITION")):\n            '
NO_VERSION = "if not answer:  # there is none, or its newest version was deleted\n            "
NOT_THERE = "if _code(error) in ABSENT:\n                    "
WHERE = {
    "env": "the environment (env)",
    "files": "files:",
    "vault": "Vault (vault:",
    "aws": "AWS Secrets Manager (aws:",
    "gcp": "Google Secret Manager (gcp:",
    "azure": "Azure Key Vault (azure:",
}
ELSEWHERE: dict[str, tuple[Edit, ...]] = {
    "env": (
        edit(
            "secrets/env.py",
            "return taken.get(name)",
            "return taken.get(name) or Found(Secret(Path(os.environ['CREDENTIALS_DIRECTORY'], name).read_text()))",
        ),
    ),
    "files": (
        edit("secrets/files.py", f"{UNREAD}return None", f"{UNREAD}return Found(Secret(os.environ.get(name, '')))"),
        edit("secrets/files.py", "        if name in os.environ:", "        if False:"),
    ),
    "vault": (
        edit(
            "secrets/vault_client.py",
            f"{NO_VERSION}return None",
            f"{NO_VERSION}return Found(Secret(__import__('os').environ.get(name, '')))",
        ),
        edit("secrets/remote.py", "            if given in os.environ and", "            if False and"),
    ),
    "aws": (
        edit("secrets/aws.py", f"{NOT_THERE}return None", f"{NOT_THERE}return Found(Secret(os.environ.get(name, '')))"),
        edit("secrets/remote.py", "            if given in os.environ and", "            if False and"),
    ),
    "gcp": (
        edit("secrets/gcp.py", f"{ABSENT}return None", f"{ABSENT}return Found(Secret(os.environ.get(name, '')))"),
        edit("secrets/remote.py", "            if given in os.environ and", "            if False and"),
    ),
    "azure": (
        edit(
            "secrets/azure.py",
            "return None if secret is None else _found(secret, wanted)",
            "return _found(secret, wanted) if secret else Found(Secret(os.environ.get(name, '')))",
        ),
        edit("secrets/remote.py", "            if given in os.environ and", "            if False and"),
    ),
}
MISPLACED = {
    "env": "{0}_FILE is not read: the secrets of this service are environment variables. Set {0} itself.",
    "files": (
        "{0} is an environment variable, which is not read: the secrets of this service are files in "
        "BASTION_SECRETS_DIR. Move it there."
    ),
    "vault": (
        "{0} is an environment variable, which is not read: the secrets of this service are in Vault. Move it there."
    ),
    "aws": (
        "{0} is an environment variable, which is not read: the secrets of this service are in AWS Secrets Manager. "
        "Move it there."
    ),
    "gcp": (
        "{0} is an environment variable, which is not read: the secrets of this service are in Google Secret Manager. "
        "Move it there."
    ),
    "azure": (
        "{0} is an environment variable, which is not read: the secrets of this service are in Azure Key Vault. "
        "Move it there."
    ),
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
    works(service.start().app is not None, "all secrets are present")
    for name in names:
        tried = service.start(**{name: None})
        harm(tried.app is not None, f"it started without {name}")
        assert len(tried.reasons) == 1
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")
        assert tried.reasons[0].endswith(". Set it there.")
        assert shown(service, tried.text) == []
    (told,) = service.start(BASTION_ENV="development", **{names[0]: None}).reasons
    assert told.endswith(f". Set it there, or write it to instance/secrets/{names[0]}.")


def names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The team's settings name one secret more."""
    team = import_module(f"{PACKAGE}.app").create_app.settings_class
    monkeypatch.setattr(team, "secrets", {**team.secrets, "PARTNER_API": "opens the API of our partner"})


def test_a_secret_that_the_team_names_is_there_in_every_proof(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_another(monkeypatch)
    (told,) = service.start().reasons
    assert told.endswith("It opens the API of our partner. Set it there.")
    service.environment.secrets.update(environment.secrets_of_the_team())
    with service.boot().app_context():
        assert len(service.module("secrets").get("PARTNER_API").reveal()) == 64
    service.secret("PARTNER_API", "of a test of the team's")
    with service.app.app_context():
        assert service.module("secrets").get("PARTNER_API").reveal() == "of a test of the team's"


@protects(
    "secret-missing-named-error",
    blank=edit(
        "secrets/kept.py",
        "return answer if answer is not None and answer.value.reveal().strip() else None",
        f"return answer and (answer if answer.value.reveal().strip() else {BUILT_IN})",
    ),
)
def test_no_required_secret_can_be_empty_or_white_space(service: Service) -> None:
    names = required(service)
    works(service.start().app is not None, "all secrets are present")
    for name in names:
        for blank in ("", " ", "\t \n", "\n"):
            tried = service.start(**{name: blank})
            harm(tried.app is not None, f"it started with {name}={blank!r}")
            assert len(tried.reasons) == 1
            assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")


@protects("secret-missing-named-error", fallback=ELSEWHERE[SECRETS])
def test_a_secret_in_the_place_of_another_backend_is_not_used(service: Service, tmp_path: Path) -> None:
    names = required(service)
    good = dict(service.environment.secrets)
    for name in (*names, *OPTIONAL):
        (tmp_path / name).write_text(good.get(name, ""), "utf-8")
    service.environment.settings["CREDENTIALS_DIRECTORY"] = str(tmp_path)  # where systemd puts them
    works(service.start().app is not None, "all secrets are where they belong; the other place changes nothing")
    for name in names:
        if SECRETS != "env":
            service.environment.settings[name] = good[name]
        tried = service.start(**{name: None})
        service.environment.settings.pop(name, None)
        harm(tried.app is not None, f"{name} was taken from another place")
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")
        assert tried.reasons[1:] == ([] if SECRETS == "env" else [MISPLACED[SECRETS].format(name)])


@protects(
    "secret-missing-named-error",
    misplaced=edit("__init__.py", "*chosen.backend.misplaced((*required, *secrets.OPTIONAL)),", ""),
)
def test_a_secret_that_somebody_gave_and_nobody_reads_stops_the_start(service: Service, tmp_path: Path) -> None:
    works(service.start(BASTION_SECRET_KEY_FALLBACKS=NEW_KEY).app is not None, "a former key in its place starts")
    (tmp_path / "key").write_text(NEW_KEY, "utf-8")
    for name in (*OPTIONAL[SECRETS == "env" :], *required(service)):
        given = (f"{name}_FILE", str(tmp_path / "key")) if SECRETS == "env" else (name, NEW_KEY)
        service.environment.settings.update([given])
        tried = service.start()
        service.environment.settings.pop(given[0])
        harm(tried.app is not None, f"{given[0]} was silently left aside")
        assert tried.reasons == [MISPLACED[SECRETS].format(name)]
        assert NEW_KEY not in tried.text


@protects("secrets-never-shown", ring=edit("secrets/ring.py", "text: str = field(repr=False)", "text: str"))
def test_a_ring_shows_none_of_its_keys(service: Service) -> None:
    ring = service.module("secrets.ring")
    active, former = (base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=") for _ in range(2))
    made = ring.parse("SECRET_KEY", active, [former])
    works([key.text for key in made.keys] == [active, former], "a ring holds its keys")
    shown = f"{made!r} {made} {[*made.keys]!r} {made.keys[0]}"
    harm([key for key in (active, former) if key in shown], "whatever prints a ring prints its keys")
    assert "SECRET_KEY" in shown


class Bare:
    """What each object has, by this version of Python."""

    __slots__ = ()


@protects(
    "secrets-never-shown",
    repr=edit("secrets/secret.py", "return f\"Secret('{MASK}')\"", 'return f"Secret({self.__value!r})"'),
    text=edit("secrets/secret.py", "def __str__(self) -> str:\n        return MASK", SHOWN.format("__str__(self)")),
    format=edit(
        "secrets/secret.py",
        "def __format__(self, _spec: str) -> str:\n        return MASK",
        SHOWN.format("__format__(self, _spec: str)"),
    ),
    pickle=edit("secrets/secret.py", "def __reduce__(self)", "def _not_reduced(self)"),
)
def test_a_secret_shows_itself_in_no_text_that_is_made_of_it(service: Service) -> None:
    import pytest

    made = service.module("secrets").Secret(CANARY)
    works(made.reveal() == CANARY, "it can be used")

    @dataclass
    class Settings:
        api_key: Any

    def fail() -> NoReturn:
        api_key = made
        raise ValueError(f"no connection with {api_key}")

    with pytest.raises(ValueError, match="no connection") as failed:
        fail()
    locals_too = traceback.TracebackException.from_exception(failed.value, capture_locals=True)
    texts = {
        "repr": [repr(made), repr([made]), repr(Settings(made)), ascii(made), "%r" % made],  # noqa: UP031
        "text": [str(made), "%s" % made, json.dumps({"a": made}, default=str), "".join(locals_too.format())],  # noqa: UP031
        "format": [f"{made}", f"{made:>40}", "{:s}".format(made)],  # noqa: UP032
    }
    for kind, written in texts.items():
        harm([one for one in written if CANARY in one], f"{kind} shows it")
        assert [one for one in written if "*****" not in one] == []
    copying: list[Callable[[Any], Any]] = [pickle.dumps, copy.copy, copy.deepcopy]
    copying.append(lambda one: asdict(Settings(one)))
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        errors = [thread.submit(function, made).exception() for function in copying]
    harm([one for one in errors if one is None], "it can be written to a file, or copied, with its value")
    assert {type(one) for one in errors} == {TypeError}
    assert set(dir(made)) - set(dir(Bare())) == {"reveal", "_Secret__value"}


@protects(
    "secrets-never-shown",
    config=edit("database/__init__.py", '    del app.config["SQLALCHEMY_ENGINES"]', "    pass"),
)
def test_what_prints_its_configuration_prints_no_secret_but_the_keys_that_flask_signs_with(service: Service) -> None:
    app = service.app
    works(service.client(service.user()).login().get("/readyz").status == 200, "the database answers")
    used = {"SECRET_KEY"}
    address = service.database.url.partition("@")[2] or service.database.url
    hidden = {name: value for name, value in service.environment.secrets.items() if name not in used}
    assert "THROTTLE_KEY" in hidden
    texts = [repr(app.config), json.dumps(dict(app.config), default=str), str(vars(app.extensions["bastion"].settings))]
    found = [name for name, value in hidden.items() if value in "".join(texts)]
    harm([*found, *(["the database's address"] if address in "".join(texts[:2]) else [])], "the configuration shows it")
    assert shown(service, repr(app.extensions["bastion"])) == []


def test_no_command_prints_a_secret(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from .test_settings import command

    names_another(monkeypatch)
    service.environment.secrets.update(environment.secrets_of_the_team())
    service.setting("BASTION_SECRET_KEY_FALLBACKS", NEW_KEY)
    for arguments in (["secrets", "list"], ["--help"], ["routes"], ["doctor"], ["secrets", "--help"]):
        code, text = command(service, monkeypatch, *arguments)
        assert code == 0, text
        assert shown(service, text) == []
    _, text = command(service, monkeypatch, "secrets", "list")
    assert f"From {WHERE[SECRETS]}" in text
    assert re.search(r"^BASTION_SECRET_KEY_FALLBACKS +present ", text, re.MULTILINE)
    assert re.search(r"^SMTP_PASSWORD +absent ", text, re.MULTILINE)
    present = {*re.findall(r"^([A-Z_]+) +present ", text, re.MULTILINE)}
    assert "PARTNER_API" in service.environment.secrets
    assert {*service.environment.secrets} <= present


def test_a_secret_at_run_time_is_missing_by_name_and_place(service: Service) -> None:
    secrets = service.module("secrets")
    with service.app.app_context():
        assert secrets.get("SECRET_KEY").reveal() == service.environment.secrets["SECRET_KEY"]
        with_no_value = secrets.SecretMissing("PAYMENT_TOKEN", service.module("state").state().secrets.where)
        assert service.module("state").state().secrets.find("PAYMENT_TOKEN") is None
    assert str(with_no_value).startswith(f"SECRET 'PAYMENT_TOKEN' not found in {WHERE[SECRETS]}")


# --- what this service's own backend does -----------------------------------------------------------------------


if SECRETS == "env":

    def test_the_line_break_that_ends_a_file_is_no_part_of_a_secret_in_development(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.environ", {})
        for name, text in {"ONE": "one\n", "TWO": "two\n\n", "THREE": "three"}.items():
            (tmp_path / name).write_text(text, "utf-8")
        service.module("chosen").backend.use_folder(tmp_path)
        assert os.environ == {"ONE": "one", "TWO": "two\n", "THREE": "three"}

    @protects("secret-env-scrubbed", scrub=edit("secrets/env.py", "os.environ.pop(name)", "os.environ[name]"))
    def test_no_program_that_this_one_starts_inherits_a_secret(service: Service) -> None:
        service.setting("BASTION_SECRET_KEY_FALLBACKS", NEW_KEY)
        service.setting("SMTP_PASSWORD", f"smtp-{CANARY}")
        service.setting("PAYMENT_TOKEN", f"payment-{CANARY}")  # the team's own
        given = {**service.environment.secrets, "PAYMENT_TOKEN": f"payment-{CANARY}"}
        with service.app.app_context():
            for name, value in given.items():
                for _ in range(2):
                    works(service.module("secrets").get(name).reveal() == value, "each secret can still be read")
        printed = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True).stdout
        works("BASTION_TRUSTED_HOSTS=" in printed, "a program inherits the settings")
        harm([name for name, value in given.items() if value in printed], "it inherits a secret as well")
        assert [name for name in given if name in os.environ] == []
        assert service.start().app is not None  # the environment that a deployment gives starts it again

    def test_a_command_leaves_the_environment_to_the_server(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        from .test_settings import command

        before = dict(os.environ)
        for _ in range(2):
            assert command(service, monkeypatch, "secrets", "list")[0] == 0
        handed: list[dict[str, str]] = []
        cli = service.module("cli")
        monkeypatch.setattr(cli.os, "execv", lambda *_arguments: handed.append(dict(os.environ)))
        os.environ.update(before)
        command(service, monkeypatch, "serve")
        assert [{name: one.get(name) for name in service.environment.secrets} for one in handed] == [
            service.environment.secrets
        ]


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
        works(folder.read("API_KEY") == f"{CANARY}\r\n", "a file is read, without one newline at its end")
        (folder.path / "..2026").mkdir(mode=0o700)
        folder.write("..2026/TOKEN")
        (folder.path / "..data").symlink_to("..2026")
        (folder.path / "TOKEN").symlink_to("..data/TOKEN")
        works(folder.read("TOKEN") == CANARY, "a link within the folder is followed, as Kubernetes makes it")
        outside = tmp_path / "OUTSIDE"
        outside.write_text(CANARY, "utf-8")
        outside.chmod(0o400)
        (folder.path / "LINK").symlink_to(outside)
        (folder.path / "FOLDER").mkdir()
        folder.write("lower-case.txt")
        folder.write("LARGE", CANARY.ljust(65_537))
        for name in ("lower-case.txt", "LINK", "../OUTSIDE", "LARGE", "..data/TOKEN", f"A{'B' * 64}", "FOLDER", ""):
            harm(folder.read(name), f"{name} was read")
            with pytest_raises(service):
                folder.opened.get(name)
        folder.write("AS_LARGE", CANARY.ljust(65_536))
        assert folder.read("AS_LARGE") == CANARY.ljust(65_536)

    @protects(
        "secret-files-safe",
        writable=edit("secrets/files.py", "if found.st_mode & (S_IWGRP | S_IWOTH):", "if False:"),
        owner=edit("secrets/files.py", "if found.st_uid not in (0, os.geteuid()):", "if False:"),
        readable=edit("secrets/files.py", "if file.stat().st_mode & S_IROTH and not _in_memory(file):", "if False:"),
    )
    def test_no_file_that_others_may_write_or_everybody_read_is_believed(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Folder(service, tmp_path, monkeypatch)
        for mode in (0o400, 0o600, 0o440):
            folder.write("API_KEY", mode=mode).chmod(mode)
            works(folder.read("API_KEY") == CANARY, "a file of the service, or of its group to read, is read")
        folder.write("API_KEY", mode=0o444)
        folder.mounted("tmpfs")
        works(folder.read("API_KEY") == CANARY, "in memory all may read it: the mount is this container's")
        folder.mounted("ext4")
        with monkeypatch.context() as read_only:
            read_only.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
            works(folder.read("API_KEY") == CANARY, "and on a mount where nobody can write")
        folder.write("PUBLIC", mode=0o404)
        harm(folder.read("PUBLIC"), "a file that everybody may read was taken for a secret")
        for mode in (0o420, 0o402):
            folder.write("WRITABLE", mode=0o600).chmod(mode)
            harm(folder.read("WRITABLE"), "a file that others may write was believed")
        folder.write("API_KEY", mode=0o400).chmod(0o400)
        folder.path.chmod(0o770)
        harm(folder.read("API_KEY"), "a file in a folder that others may write was believed")
        folder.path.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder.path / "API_KEY", 12_345, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12_345)
        harm(folder.read("API_KEY"), "a file of another user was believed")
        with pytest_raises(service, "belongs to another user"):
            folder.opened.get("API_KEY")

    def test_the_reason_why_a_file_is_not_read_stops_the_start(service: Service) -> None:
        for name, begins in (
            ("SECRET_KEY", "SECRET 'SECRET_KEY' not found in files:{}, where it or its folder may be written by"),
            ("BASTION_SECRET_KEY_FALLBACKS", "BASTION_SECRET_KEY_FALLBACKS or its folder may be written by others"),
        ):
            given = service.environment.copy()
            given.change({"BASTION_SECRET_KEY_FALLBACKS": NEW_KEY})
            variables = given.variables()
            folder = Path(variables["BASTION_SECRETS_DIR"])
            service.environment.settings["BASTION_SECRETS_DIR"] = str(folder)
            assert service.start().app is not None
            (folder / name).chmod(0o660)
            tried = service.start()
            del service.environment.settings["BASTION_SECRETS_DIR"]
            assert [reason.startswith(begins.format(folder)) for reason in tried.reasons] == [True]
            assert NEW_KEY not in tried.text

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
    data=edit("/.gitignore", "*.sqlite\n", ""),
    key=edit("development.py", "return secrets.token_urlsafe(32)", f'return "{NEW_KEY}"'),
)
def test_the_repository_holds_no_secret(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works(keys_in(f'KEY = "{NEW_KEY}"\n') == [NEW_KEY], "a key in a text is seen")
    works(keys_in(f"key: {_BYTES.hex()}"), "in hex as well")
    folder = tracked(service, tmp_path / "copy")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    files = listed.stdout.strip("\0").split("\0")
    works("pyproject.toml" in files, "what belongs to the service is in the repository")
    works([name for name in files if name.endswith("bastion/development.py")], "its code is")
    harm([name for name in files if name in CANARIES], "a secret, or a copy of the data, would be committed")
    texts = {name: (folder / name).read_text("utf-8", "replace") for name in files if not name.endswith(".lock")}
    published = service.module("jwt.keys").PUBLISHED if AUTH == "jwt" else ()  # by standards; a start with them stops
    public = {*published, service.module("chosen").COMMIT}
    found = {name: keys for name, text in texts.items() if (keys := {*keys_in(text)} - public)}
    harm(found, f"a key is in the repository: {sorted(found)}")
    assert [name for name in files if Path(name).name in (".env", ".flaskenv")] == []
    development = service.module("development")
    assert len({development.new_key() for _ in range(3)}) == 3
    monkeypatch.chdir(tmp_path)
    development.prepare(PACKAGE)
    kept = [file for file in (tmp_path / "instance").rglob("*") if file.is_file()]
    assert {file.name for file in kept} >= {"SECRET_KEY", "THROTTLE_KEY", "DATA_KEY"}
    assert {file.stat().st_mode & 0o777 for file in kept if file.parent.name == "secrets"} == {0o600}


def required(service: Service) -> list[str]:
    """The secrets without which this service does not start, first the one that nothing else looks at."""
    names = sorted(service.environment.secrets, key=lambda name: (name != "SECRET_KEY", name))
    assert len(names) >= 2
    assert "SECRET_KEY" in names
    return names


def shown(service: Service, text: str) -> list[str]:
    """The secrets whose value is in the text."""
    return [name for name, value in service.environment.secrets.items() if value in text]


def test_a_length_of_time_is_told_in_its_largest_unit(service: Service) -> None:
    told = {0: "0 s", -5: "0 s", 59: "59 s", 60: "1 min", 3_599: "59 min", 3_600: "1 h", 86_399: "23 h", 86_400: "1 d"}
    assert {length: service.module("secrets.overview")._span(length) for length in told} == told


def test_a_key_is_the_same_32_bytes_in_hex_and_in_base64(service: Service) -> None:
    ring = service.module("secrets.ring")
    spellings = (
        "00ff" * 16,
        "AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8",
        "AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8=",
    )
    assert {ring.bytes_of(f" {text}\n") for text in spellings} == {bytes((0, 255)) * 16}


def test_a_ring_says_when_its_active_key_is_everywhere_and_which_are_over(service: Service) -> None:
    ring: Any = service.module("secrets.ring")
    purpose, now = ring.PURPOSES["DATA_KEY"], int(service.now().timestamp())
    ago = {"active": 100, "retired": purpose.life - 60, "over": purpose.life + 60}
    keys = [ring.Key(name, name, name.replace("over", "retired"), now - int(since)) for name, since in ago.items()]
    made = ring.Ring(purpose, (*keys, ring.Key("a fallback", "of old", "retired")), ("active",), ())
    assert ring.SPREAD - 110 <= made.spreads_for() <= ring.SPREAD - 99
    assert [key.name for key in made.overdue()] == ["over"]
    assert ring.Ring(purpose, (ring.Key("plain", "text", "active"),), ("text",), ()).spreads_for() == 0
    counters: Any = service.module("throttle")  # one is looked for under the key that it was begun with
    lasts = (counters.LONGEST_WAIT + counters.KEPT).total_seconds()
    assert ring.PURPOSES["THROTTLE_KEY"].life >= lasts + ring.SPREAD


def test_of_two_next_keys_the_one_that_all_processes_know_becomes_active(service: Service) -> None:
    ring, now = service.module("secrets.ring"), int(service.now().timestamp())
    listed = [
        {"status": status, "since": now - ago} for status, ago in (("active", 9_000), ("next", 3_600), ("next", 0))
    ]
    turned = ring.turned(listed, dict, ring.WAIT, 0, None)
    assert [key["status"] for key in json.loads(turned.text)["keys"]] == ["retired", "active", "next"]
