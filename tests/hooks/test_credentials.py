"""A password in the template's address reaches no file of a service, no message and no report.

The answers file is committed: a token in it is a token for everybody who reads the repository. Each attack is tried on
the template and the command as they are, and without the protection. Source: catalogue row answers-file-no-credentials;
ASVS 13.3.1, 13.4.1.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_bastion import escape
from histories import History, record, recorded
from support import Repository, done, files_of, replace_once, run

CANARY = "token-of-a-bot-in-an-address"
ADDRESS = f"https://bot:{CANARY}@git.example/team/flask-bastion.git"
ANSWERS = "template/{{_copier_conf.answers_file}}.jinja"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "https://[redacted]@git.example/team/flask-bastion.git"),
        (f"https://{CANARY}@git.example/t.git", "https://[redacted]@git.example/t.git"),
        (f"git+https://bot:a@b{CANARY}@git.example/t.git", "git+https://[redacted]@git.example/t.git"),
        (f"ssh://git:{CANARY}@git.example/t.git", "ssh://[redacted]@git.example/t.git"),
        (f"https://git.example/t.git?token={CANARY}", "https://git.example/t.git?[redacted]"),
        (f"https://git.example/t.git#{CANARY}", "https://git.example/t.git?[redacted]"),
        *(
            (plain, plain)
            for plain in (
                "https://git.example/team/flask-bastion.git",
                "ssh://git@git.example/t.git",
                "git@git.example:team/t.git",
                "gh:team/t",
                "/srv/templates/a@b",
            )
        ),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(address: str, shown: str) -> None:
    assert escape.address(address) == shown


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_a_recorded_password_is_told_and_not_shown(
    history: History,
    tmp_path: Path,
    command: Callable[..., Callable[..., subprocess.CompletedProcess[str]]],
    form: str,
) -> None:
    service = history.service(tmp_path / "service", "v1.2.1")
    arguments = ("check", service, "--template", history.repository.path, "--format", form)
    sabotaged = command(
        ("escape.py", "    kept = _USER_INFO.sub(_without_secret, text)\n", "    return f'{text}'\n"),
        ("repository.py", "if (safe := escape.address(source)) != source:", "if (safe := escape.address(source)):"),
    )
    clean = recorded(service)
    assert command()(*arguments).returncode == 0, "the legitimate way"
    for address in (ADDRESS, f"https://git.example/t.git?private_token={CANARY}"):
        record(service, clean | {"_src_path": address})
        result = command()(*arguments)
        assert result.returncode == 1
        assert "[redacted]" in result.stdout
        assert CANARY not in result.stdout + result.stderr
        assert CANARY in sabotaged(*arguments).stdout


@pytest.fixture
def cloned(tmp_path: Path) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Render from an address with a password in it, which git finds on this machine (its insteadOf)."""

    def render(template: Path) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "gitconfig"
        config.write_text(f'[url "{template}"]\n\tinsteadOf = {ADDRESS}\n', encoding="utf-8")
        target = tmp_path / "service"
        command = (sys.executable, "-m", "copier", "copy", "--defaults", f"git+{ADDRESS}", target)
        return run(*command, env={"GIT_CONFIG_GLOBAL": str(config), "XDG_CACHE_HOME": f"{template.parent}/cache"})

    return render


def holds_canary(service: Path) -> list[str]:
    return [name for name in files_of(service) if CANARY.encode() in (service / name).read_bytes()]


def test_the_answers_file_records_the_address_without_it(
    tmp_path: Path, cloned: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    for name, sabotage in (("intact", False), ("sabotaged", True)):
        repository = Repository.make(tmp_path / name / "flask-bastion")
        if sabotage:
            whole = "dict(_copier_answers, _src_path=_copier_answers._src_path if"
            replace_once(repository.path / ANSWERS, "dict(_copier_answers, _src_path=source if", whole)
        repository.release("v1.0.0")
        result = cloned(repository.path)
        service = tmp_path / "service"
        done(result)
        assert holds_canary(service) == ([".copier-answers.yml"] if sabotage else [])
        assert CANARY not in result.stdout + result.stderr
        if not sabotage:
            assert recorded(service)["_src_path"] == "git+https://git.example/team/flask-bastion.git"
        service.rename(tmp_path / f"service-{name}")
