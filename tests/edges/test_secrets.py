"""Edges of the proofs in test_secrets.py: further attacks on the same protections."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import subprocess
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from ..environment import WHERE as BACKEND_WHERE
from ..environment import Stub, stubbed
from ..harness import Edit, edit, harm, protects, works
from ..rings import ring_of
from ..running import Service, collecting
from ..service import AUTH, PACKAGE, SECRETS
from ..test_secrets import (
    _BYTES,
    BUILT_IN,
    CANARIES,
    CANARY,
    FIRST,
    NAME,
    NEW_KEY,
    SECOND,
    WHERE,
    ask,
    keys_in,
    known,
    required,
    started,
    tracked,
)

if TYPE_CHECKING:
    import pytest

    from ..running import Service


OPTIONAL = ("SMTP_PASSWORD",)
SHOWN = "def {} -> str:\n        return self.__value"
UNREAD = "if file is None or _fault(folder, file) is not None:\n            "
ABSENT = 'in ((404, "NOT_FOUND"), (400, "FAILED_PRECONDITION")):\n            '
NO_VERSION = "if not answer:  # there is none, or its newest version was deleted\n            "
NOT_THERE = "if _code(error) in ABSENT:\n                    "
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
        edit("secrets/remote.py", "            if given in os.environ:", "            if False:"),
    ),
    "aws": (
        edit("secrets/aws.py", f"{NOT_THERE}return None", f"{NOT_THERE}return Found(Secret(os.environ.get(name, '')))"),
        edit("secrets/remote.py", "            if given in os.environ:", "            if False:"),
    ),
    "gcp": (
        edit("secrets/gcp.py", f"{ABSENT}return None", f"{ABSENT}return Found(Secret(os.environ.get(name, '')))"),
        edit("secrets/remote.py", "            if given in os.environ:", "            if False:"),
    ),
    "azure": (
        edit(
            "secrets/azure.py",
            "return None if secret is None else _found(secret, wanted)",
            "return _found(secret, wanted) if secret else Found(Secret(os.environ.get(name, '')))",
        ),
        edit("secrets/remote.py", "            if given in os.environ:", "            if False:"),
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
    works(service.start().app is not None, "the service starts with all secrets present")
    for name in names:
        for blank in ("", " ", "\t \n", "\n"):
            tried = service.start(**{name: blank})
            harm(tried.app is not None, f"the service started with {name}={blank!r}")
            assert len(tried.reasons) == 1
            assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")


@protects("secret-missing-named-error", fallback=ELSEWHERE[SECRETS])
def test_a_secret_in_the_place_of_another_backend_is_not_used(service: Service, tmp_path: Path) -> None:
    names = required(service)
    good = dict(service.environment.secrets)
    for name in (*names, *OPTIONAL):
        (tmp_path / name).write_text(good.get(name, ""), "utf-8")
    service.environment.settings["CREDENTIALS_DIRECTORY"] = str(tmp_path)  # where systemd puts them
    works(service.start().app is not None, "all secrets are in their backend; the other place is ignored")
    for name in names:
        if SECRETS != "env":
            service.environment.settings[name] = good[name]
        tried = service.start(**{name: None})
        service.environment.settings.pop(name, None)
        harm(tried.app is not None, f"{name} was read from another backend")
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")
        assert tried.reasons[1:] == ([] if SECRETS == "env" else [MISPLACED[SECRETS].format(name)])


@protects(
    "secret-missing-named-error",
    misplaced=edit("__init__.py", "*chosen.backend.misplaced((*required, *secrets.OPTIONAL)),", ""),
)
def test_an_unread_secret_stops_the_start(service: Service, tmp_path: Path) -> None:
    works(service.start(SMTP_PASSWORD=NEW_KEY).app is not None, "a secret in its place starts")
    (tmp_path / "key").write_text(NEW_KEY, "utf-8")
    for name in (*OPTIONAL, *required(service)):
        given = (f"{name}_FILE", str(tmp_path / "key")) if SECRETS == "env" else (name, NEW_KEY)
        service.environment.settings.update([given])
        tried = service.start()
        service.environment.settings.pop(given[0])
        harm(tried.app is not None, f"{given[0]} was silently ignored")
        assert tried.reasons == [MISPLACED[SECRETS].format(name)]
        assert NEW_KEY not in tried.text


@protects("secrets-never-shown", ring=edit("crypto/ring.py", "text: str = field(repr=False)", "text: str"))
def test_a_ring_shows_none_of_its_keys(service: Service) -> None:
    ring = service.module("crypto.ring")
    active, former = (base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=") for _ in range(2))
    made = ring.parse("SECRET_KEY", ring_of(service, active, former))
    works([key.text for key in made.keys] == [active, former], "a ring holds its keys")
    shown = f"{made!r} {made} {[*made.keys]!r} {made.keys[0]}"
    harm([key for key in (active, former) if key in shown], "printing a ring shows its keys")
    assert "SECRET_KEY" in shown


class Bare:
    """Return the attributes that every object has in this version of Python."""

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
    works(made.reveal() == CANARY, "the value can be used")

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
    harm([one for one in errors if one is None], "pickling or copying reveals its value")
    assert {type(one) for one in errors} == {TypeError}
    assert set(dir(made)) - set(dir(Bare())) == {"reveal", "_Secret__value"}


if SECRETS == "files":
    from ..test_secrets import Folder, pytest_raises

    @protects(
        "secret-files-safe",
        writable=edit("secrets/files.py", "if found.st_mode & (S_IWGRP | S_IWOTH):", "if False:"),
        owner=edit("secrets/files.py", "if found.st_uid not in (0, os.geteuid()):", "if False:"),
        readable=edit("secrets/files.py", "if file.stat().st_mode & S_IROTH and not _in_memory(file):", "if False:"),
    )
    def test_secret_files_with_wide_permissions_are_refused(
        service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Folder(service, tmp_path, monkeypatch)
        for mode in (0o400, 0o600, 0o440):
            folder.write("API_KEY", mode=mode).chmod(mode)
            works(folder.read("API_KEY") == CANARY, "a file readable by the service or its group is read")
        folder.write("API_KEY", mode=0o444)
        folder.mounted("tmpfs")
        works(folder.read("API_KEY") == CANARY, "in a memory mount all may read it: the mount is this container's")
        folder.mounted("ext4")
        with monkeypatch.context() as read_only:
            read_only.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
            works(folder.read("API_KEY") == CANARY, "a read-only mount is accepted")
        folder.write("PUBLIC", mode=0o404)
        harm(folder.read("PUBLIC"), "a world-readable file was accepted as a secret")
        for mode in (0o420, 0o402):
            folder.write("WRITABLE", mode=0o600).chmod(mode)
            harm(folder.read("WRITABLE"), "a file that others may write was accepted")
        folder.write("API_KEY", mode=0o400).chmod(0o400)
        folder.path.chmod(0o770)
        harm(folder.read("API_KEY"), "a file in a folder that others may write was accepted")
        folder.path.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder.path / "API_KEY", 12_345, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12_345)
        harm(folder.read("API_KEY"), "a file of another user was accepted")
        with pytest_raises(service, "belongs to another user"):
            folder.opened.get("API_KEY")


@protects(
    "secrets-not-in-tree",
    git=edit("/.gitignore", ".env\n.env.*\n", ""),
    data=edit("/.gitignore", "*.sqlite\n", ""),
    key=edit("commands/dev.py", "return secrets.token_urlsafe(32)", f'return "{NEW_KEY}"'),
)
def test_a_key_of_development_is_random_and_the_owners_alone(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(keys_in(f'KEY = "{NEW_KEY}"\n') == [NEW_KEY], "the scanner finds a key in a text")
    works(keys_in(f"key: {_BYTES.hex()}"), "the scanner finds it in hex too")
    folder = tracked(service, tmp_path / "copy")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    files = listed.stdout.strip("\0").split("\0")
    works("pyproject.toml" in files, "the repository contains the service's files")
    works([name for name in files if name.endswith("bastion/commands/dev.py")], "the repository contains its code")
    harm([name for name in files if name in CANARIES], "a secret or a copy of the data would be committed")
    texts = {name: (folder / name).read_text("utf-8", "replace") for name in files if not name.endswith(".lock")}
    published = service.module("jwt.keys").PUBLISHED if AUTH == "jwt" else ()  # by standards; a start with them stops
    public = {*published, service.module("chosen").COMMIT}
    found = {name: keys for name, text in texts.items() if (keys := {*keys_in(text)} - public)}
    harm(found, f"the repository contains a key: {sorted(found)}")
    assert [name for name in files if Path(name).name in (".env", ".flaskenv")] == []
    development = service.module("commands.dev")
    assert len({development.new_key() for _ in range(3)}) == 3
    monkeypatch.chdir(tmp_path)
    development.prepare(PACKAGE)
    kept = [file for file in (tmp_path / "instance").rglob("*") if file.is_file()]
    assert {file.name for file in kept} >= {"SECRET_KEY", "DATA_KEY"}
    assert {file.stat().st_mode & 0o777 for file in kept if file.parent.name == "secrets"} == {0o600}


LEADS = {
    "vault": "BASTION_VAULT_ADDR",
    "aws": "BASTION_AWS_ENDPOINT",
    "gcp": "BASTION_GCP_ENDPOINT",
    "azure": "BASTION_AZURE_VAULT_URL",
}
"""Where `dev` leads a backend that is elsewhere to what it keeps below instance/."""

if SECRETS in LEADS:

    @protects(
        "secret-backend-genuine",
        kept=edit(f"secrets/{SECRETS}.py", "if not production and remote.kept_here(", "if remote.kept_here("),
    )
    def test_no_folder_stands_in_for_the_backend_in_production(service: Service, tmp_path: Path) -> None:
        for name in service.environment.secrets:
            (tmp_path / name).write_text(service.environment.secrets[name], "utf-8")
        names = {LEADS[SECRETS]: tmp_path.as_uri()}
        works(service.start(BASTION_ENV="development", **names).app is not None, "development reads its folder")
        works(service.start().app is not None, "production asks its backend")
        tried = service.start(**names)
        harm(tried.app is not None, "production started with keys from a local folder")
        assert [reason.partition(":")[0] for reason in tried.reasons] == [LEADS[SECRETS]]


# --- a backend that is away, and a value that was replaced -----------------------------------------------------------


UNAVAILABLE = "secret_backend_unavailable"


def hangs(stub: Stub) -> tuple[Event, Event]:
    """Let the backend answer only after the second event; the first signals that a request asks."""
    entered, over = Event(), Event()

    def hang() -> None:
        entered.set()
        over.wait(60)

    stub.meanwhile = hang
    return entered, over


@protects(
    "secret-rotation-picked-up",
    again=edit(
        "secrets/kept.py",
        "if kept.fault is None and not (_within(seconds() - kept.refreshed_at, AGAIN) or self._is_silent()):",
        "if True:",
    ),
)
def test_strangers_cannot_flood_the_secrets_backend(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        stub.values[NAME] = SECOND
        service.travel(seconds=11)
        works(kept.refresh(NAME) is True, "a request with a newer value gets it at once")
        works(kept.get(NAME).reveal() == SECOND, "the request succeeds")
        questions = len(stub.asked)
        for _ in range(20):
            assert kept.refresh(NAME) is False
        harm(len(stub.asked) > questions, "each invalid signature of a stranger queries the backend")
        service.travel(seconds=11)
        assert kept.refresh(NAME) is False
        assert stub.asked[questions:] == [NAME]


@protects(
    "secret-rotation-picked-up",
    moment=edit("secrets/kept.py", "_within(seconds() - kept.refreshed_at, AGAIN)", "_within(seconds() - kept.asked_at, AGAIN)"),  # noqa: E501
)  # fmt: skip
def test_no_exchange_comes_at_a_moment_when_nobody_may_ask(service: Service) -> None:
    with stubbed(service) as stub:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        service.travel(seconds=301)
        works(kept.get(NAME).reveal() == FIRST, "the backend is queried in its turn")
        former = kept.get(NAME)
        stub.values[NAME] = SECOND
        service.travel(seconds=1)
        newer = kept.refresh(NAME, former)
        harm(not newer, "a request reused the refused former value for ten seconds")
        assert kept.get(NAME).reveal() == SECOND


@protects(
    "secret-backend-down-at-run",
    deleted=edit("secrets/kept.py", "if (answer := kept.answer) is None and _within(seconds() - kept.last_at, STALE):", "if (answer := kept.answer) is None:"),  # noqa: E501
)  # fmt: skip
def test_a_deleted_secret_is_valid_for_at_most_an_hour(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        del stub.values[NAME]
        service.travel(seconds=3500)
        works(ask(service).status == 200, "a briefly deleted secret causes no outage")
        used.clear()
        service.travel(seconds=101)
        answer = ask(service)
        harm(used, "a value deleted an hour ago is still used")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        stub.values[NAME] = SECOND
        service.travel(seconds=301)
        assert ask(service).status == 200
        assert used == [SECOND]


@protects(
    "secret-backend-down-at-run",
    told=edit("secrets/kept.py", "            self._warn(name, kept)\n", "            pass\n"),
)
def test_an_outage_is_told_once_a_minute_and_names_no_value(service: Service) -> None:
    def warnings() -> list[dict[str, Any]]:
        return [event for event in service.log if event["event"] == UNAVAILABLE and event["name"] == NAME]

    with stubbed(service) as stub:
        started(service, stub)
        works(warnings() == [], "nothing is logged while the backend answers")
        opened = stub.connected
        stub.goes_down()
        service.travel(seconds=301)
        for _ in range(3):
            assert ask(service).status == 200
        harm(not warnings(), "the service uses stale values and logs no warning")
        [event] = warnings()
        assert (event["level"], event["fault"]) == ("warning", "does not answer")
        rows = service.rows("SELECT outcome FROM audit_event WHERE kind = 'secret.backend_unavailable'")
        assert {outcome for (outcome,) in rows} == {"failure"}
        for _ in range(3):
            service.travel(seconds=31)
            assert ask(service).status == 200
        assert len(warnings()) == 2
        assert stub.connected > opened  # a client that failed may be broken: the next question has another
        assert FIRST not in service.output


@protects("secret-backend-down-at-run", silent=edit("secrets/kept.py", "self._silent_at = seconds()", "pass"))
def test_a_hanging_backend_is_waited_for_only_once(service: Service) -> None:
    others = [f"PARTNER_{number}" for number in range(8)]
    with stubbed(service) as stub:
        started(service, stub)
        stub.values.update(dict.fromkeys(others, FIRST))
        kept = service.module("state").state_of(service.app).secrets
        works([kept.get(name).reveal() for name in others] == [FIRST] * 8, "eight more secrets are used")
        stub.goes_down()
        stub.meanwhile = lambda: setattr(stub, "clock", stub.clock + 5)
        service.travel(minutes=30)
        questions = len(stub.asked)
        read = [kept.get(name).reveal() for _ in range(3) for name in (NAME, *others)]
        harm(len(stub.asked) > questions + 1, "each secret adds five seconds without service")
        assert set(read) == {FIRST}
        service.travel(seconds=11)
        assert kept.get(others[3]).reveal() == FIRST
        assert len(stub.asked) == questions + 2
        stub.comes_back()
        stub.values[NAME] = SECOND
        service.travel(seconds=11)
        assert kept.get(NAME).reveal() == SECOND


@protects(
    "secret-backend-down-at-run",
    waits=edit("secrets/kept.py", "return not self.counts() or (old and self.fault is None)", "return True"),
)
def test_nobody_but_one_waits_for_a_backend_that_hangs(service: Service) -> None:
    with stubbed(service) as stub, ThreadPoolExecutor(2) as threads:
        started(service, stub)
        kept = service.module("state").state_of(service.app).secrets
        service.travel(seconds=301)
        entered, over = hangs(stub)
        one = threads.submit(kept.get, NAME)
        works(entered.wait(60), "one request queries the backend")
        other = threads.submit(kept.get, NAME)
        waited = wait([other], timeout=5).not_done
        over.set()
        works(one.result().reveal() == FIRST, "the request that asked gets the answer")
        harm(waited, "requests with a valid cached value waited for a hanging backend")
        assert other.result().reveal() == FIRST


@protects(
    "secret-backend-down-at-boot",
    boot=edit("__init__.py", "    except secrets.SecretUnavailable as away:\n        reasons.append(", "    except secrets.SecretUnavailable as away:\n        [*reasons].append("),  # noqa: E501
)  # fmt: skip
def test_no_start_goes_on_without_an_answer_about_each_secret(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stubbed(service) as stub:
        stub.goes_down(times=1)
        works(service.start().app is not None, "the service waits for the end of a short outage")
        names = ("SMTP_PASSWORD", *service.environment.secrets)
        for name in names:
            stub.goes_down("refuses this service (forbidden)", only=name)
            stub.asked.clear()
            tried = service.start()
            harm(tried.app is not None, f"the service started without an answer about {name}")
            assert tried.reasons == [
                f"SECRET {name!r} can't be read: {BACKEND_WHERE} refuses this service (forbidden). "
                "Check that it runs, its address, and what this service may read there."
            ]
            assert stub.asked[-5:] == [name, "waited 0.2", name, "waited 0.8", name]
        stub.goes_down()
        assert service.start().app is None
        asked, wrong = len(stub.asked), "BASTION_VAULT: its address could be an attacker's."
        monkeypatch.setattr(service.module("chosen").backend, "check", lambda *_, **_mode: iter([wrong]))
        assert service.start(BASTION_QQQQQQQQQQQQ="1").reasons == [
            "BASTION_QQQQQQQQQQQQ is not a setting. Remove it.",
            wrong,
        ]
        assert len(stub.asked) == asked  # a server that is not verified gets no question


@protects(
    "secret-backend-down-at-run",
    stale=edit("secrets/kept.py", "        if not kept.counts():\n", "        if False:\n"),
    empty=edit("secrets/kept.py", "            raise SecretUnavailable(name, self.where, kept.fault or \"does not answer\")\n        return kept", '            return replace(kept, answer=Found(Secret("")))\n        return kept'),  # noqa: E501
)  # fmt: skip
def test_an_outage_is_bridged_for_an_hour_without_a_restart(service: Service) -> None:
    with stubbed(service) as stub:
        used = started(service, stub)
        stub.goes_down()
        for seconds in (0, 301, 3199):
            service.travel(seconds=seconds)
            works(ask(service).status == 200, f"{seconds} s more into an outage the last value is valid")
        works(set(used) == {FIRST}, "it is the value read before")
        used.clear()
        service.travel(seconds=101)
        answers = [ask(service) for _ in range(3)]
        harm(used, f"a view used {used!r} more than an hour after the last answer")
        assert {(answer.status, answer.header("Retry-After")) for answer in answers} == {(503, "5")}
        assert FIRST not in service.output
        stub.comes_back()
        service.travel(seconds=11)
        assert ask(service).status == 200
        assert used == [FIRST]


# --- errors reveal no secret -----------------------------------------------------------------------------------------


@protects("secrets-never-shown")
def test_no_collector_of_errors_gets_a_key_that_a_view_holds(service: Service) -> None:
    def uses() -> str:
        partner = service.module("secrets").get("SECRET_KEY")
        raise ValueError(f"no connection with {partner}")

    service.adds_route("/uses", mark="public", view=uses)
    visitor = service.client()
    with collecting() as collector:
        answer = visitor.get("/uses")
        works("no connection with" in collector.text, "a collector receives the error of a view")
        works("in dispatch_request" in collector.text, "the error includes its stack")
    harm(known(service, collector.text), "the collected stack variables contain a secret")
    assert answer.status == 500
    assert known(service, service.output + answer.text) == []
