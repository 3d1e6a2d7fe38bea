"""A probe looks at what code means: nothing that only looks like a fix, or is not what runs, passes for one.

Each attack leaves the text of the fix in place and the fix out of force. It is tried on the command as it is and must
be named; then on a copy without the one protection, and must pass for fixed there. Source: catalogue row
probe-not-fooled; ASVS 15.2.1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_bastion import probe, syntax
from flask_bastion.program import Program
from flask_bastion.tree import LARGEST_BYTES
from histories import CHECK, HISTORIES, History, record, recorded
from support import replace_once

Command = Callable[..., subprocess.CompletedProcess[str]]
PACKAGE = "src/my_service"
TOKENS = f"{PACKAGE}/bastion/jwt/tokens.py"
APP = f"{PACKAGE}/app.py"
EXACT = "raise InvalidToken('jwt-access-10-min')"
"""The line of the fix as text, for the sabotage that searches text."""
RAISES = CHECK.splitlines()[1].strip()


@pytest.fixture
def service(history: History, tmp_path: Path) -> Path:
    """A fixed service; the probe of the advisory about tokens is green on it."""
    return history.service(tmp_path / "service", "v1.2.1", auth="jwt")


@pytest.fixture(scope="session")
def one_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The advisory about tokens, with a probe of one line alone."""
    about = json.loads(json.dumps(HISTORIES["token"]))
    probes = about["affected"][0]["database_specific"]["probe"]
    probes[0] = {"file": "src/*/bastion/jwt/tokens.py", "within": "_check_now", "has": CHECK.replace("    if", "if", 1)}
    folder = tmp_path_factory.mktemp("one-line")
    (folder / f"{about['id']}.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def edit(service: Path, name: str, old: str, new: str) -> None:
    replace_once(service / name, old, new)


def append(service: Path, name: str, text: str) -> None:
    with (service / name).open("a", encoding="utf-8") as file:
        file.write(text)


def in_comment(service: Path) -> None:
    edit(service, TOKENS, CHECK, "".join(f"    # {line}\n" for line in (*CHECK.splitlines(), EXACT)))


def in_text(service: Path) -> None:
    edit(
        service,
        TOKENS,
        CHECK,
        f'    """{CHECK.strip()}\n    {EXACT}"""\n'.replace('"jwt', "'jwt").replace('min"', "min'"),
    )


def in_dead_branch(service: Path) -> None:
    edit(service, TOKENS, CHECK, "    if False:\n" + "".join(f"    {line}\n" for line in CHECK.splitlines()))


def behind_another_condition(service: Path) -> None:
    body = "".join(f"    {line}\n" for line in CHECK.splitlines())
    edit(service, TOKENS, CHECK, f"    if claims.expires_at < 0:\n{body}")


def after_return(service: Path) -> None:
    edit(service, TOKENS, CHECK, f"    return\n{CHECK}")


def in_function_that_nobody_calls(service: Path) -> None:
    body = "".join(f"    {line}\n" for line in CHECK.splitlines())
    edit(service, TOKENS, CHECK, f"    def unused() -> None:\n{body}")


def defined_again(service: Path) -> None:
    append(service, TOKENS, "\n\ndef _check_now(claims: Claims, ring: KeyRing) -> None:\n    return None\n")


def assigned_again(service: Path) -> None:
    append(service, TOKENS, "\n\n_check_now = lambda *_: None\n")


def assigned_again_through_global(service: Path) -> None:
    append(service, TOKENS, "\n\ndef forget() -> None:\n    global _check_now\n    _check_now = print\n\n\nforget()\n")


def nothing_calls_it(service: Path) -> None:
    edit(service, TOKENS, "        _check_now(claims, ring)\n", "        pass\n")


def in_module_that_nothing_imports(service: Path) -> None:
    """The module that is imported is another, without the check."""
    folder = service / PACKAGE / "bastion" / "jwt"
    text = (folder / "tokens.py").read_text(encoding="utf-8")
    (folder / "tokens_fast.py").write_text(text.replace(CHECK, ""), encoding="utf-8")
    for path in (service / PACKAGE / "bastion").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("from .tokens import", "from .tokens_fast import").replace(
            "import tokens", "import tokens_fast"
        )
        path.write_text(
            text.replace("    tokens,\n", "    tokens_fast,\n").replace("jwt.tokens", "jwt.tokens_fast"),
            encoding="utf-8",
        )


def package_of_the_same_name(service: Path) -> None:
    folder = service / PACKAGE / "bastion" / "jwt" / "tokens"
    folder.mkdir()
    (folder / "__init__.py").write_text("from ..tokens import *\n", encoding="utf-8")


def compiled_module_of_the_same_name(service: Path) -> None:
    (service / PACKAGE / "bastion" / "jwt" / "tokens.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")


def in_another_package(service: Path) -> None:
    """The fixed file lies where a careless pattern finds it first."""
    other = service / "src" / "a_copy" / "bastion" / "jwt"
    other.mkdir(parents=True)
    shutil.copy(service / TOKENS, other)
    edit(service, TOKENS, CHECK, "")


def encoded_otherwise(service: Path) -> None:
    """Read as UTF-8 a comment stands before the fix; as Python reads it, its second half is a line of its own."""
    text = (service / TOKENS).read_text(encoding="utf-8").replace(CHECK, f"    #\\u000a    return\n{CHECK}")
    (service / TOKENS).write_text(f"# coding: raw_unicode_escape\n{text}", encoding="utf-8")


def service_does_not_start_from_bastion(service: Path) -> None:
    (service / APP).write_text("from flask import Flask\n\n\ndef create_app() -> Flask:\n    return Flask(__name__)\n")


def said_of_the_team(text: str) -> Callable[[Path], None]:
    return lambda service: append(service, APP, f"\n\n{text}\n")


def replaced_in_another_file(service: Path) -> None:
    text = "from my_service.bastion.jwt import tokens\ntokens._check_now = print\n"
    (service / "wsgi.py").write_text(text, encoding="utf-8")


ATTACKS: dict[str, Callable[[Path], None]] = {
    "in a comment": in_comment,
    "in a text": in_text,
    "under if False": in_dead_branch,
    "under a condition of its own": behind_another_condition,
    "after return": after_return,
    "in a function that nobody calls": in_function_that_nobody_calls,
    "defined again": defined_again,
    "assigned again": assigned_again,
    "assigned again through global": assigned_again_through_global,
    "nothing calls it": nothing_calls_it,
    "in a module that nothing imports": in_module_that_nothing_imports,
    "a package of the same name": package_of_the_same_name,
    "a compiled module of the same name": compiled_module_of_the_same_name,
    "in another package": in_another_package,
    "in another encoding": encoded_otherwise,
    "bastion is not used": service_does_not_start_from_bastion,
    "replaced": said_of_the_team("from .bastion.jwt import tokens\ntokens._check_now = print"),
    "replaced in a tuple": said_of_the_team("from .bastion.jwt import tokens\ntokens._check_now, x = print, 1"),
    "replaced under another name": said_of_the_team(
        "from .bastion.jwt import tokens as t\nu = t\nu._check_now = print"
    ),
    "deleted": said_of_the_team("from .bastion.jwt import tokens\ndel tokens._check_now"),
    "replaced by setattr": said_of_the_team("from .bastion.jwt import tokens\nsetattr(tokens, '_check_now', print)"),
    "replaced by setattr of a name": said_of_the_team(
        "from .bastion.jwt import tokens\nNAME = '_check_now'\nsetattr(tokens, NAME, print)"
    ),
    "replaced by setattr of anything": said_of_the_team(
        "from .bastion.jwt import tokens\nfor name in dir(tokens):\n    setattr(tokens, name, print)"
    ),
    "replaced in __dict__": said_of_the_team("from .bastion.jwt import tokens\ntokens.__dict__['_check_now'] = print"),
    "replaced in vars": said_of_the_team("from .bastion.jwt import tokens\nvars(tokens).update(_check_now=print)"),
    "replaced by mock": said_of_the_team(
        "from unittest import mock\nmock.patch('my_service.bastion.jwt.tokens._check_now', print).start()"
    ),
    "the module is replaced": said_of_the_team("import sys\nsys.modules['my_service.bastion.jwt.tokens'] = sys"),
    "replaced by exec": said_of_the_team("exec('from .bastion.jwt import tokens as t; t._check_now = print')"),
    "replaced from the server's file": replaced_in_another_file,
}


WHY: dict[Callable[[Path], None], str] = {
    defined_again: "means two things",
    assigned_again: "means two things",
    assigned_again_through_global: "means two things",
    nothing_calls_it: "Nothing uses _check_now.",
    in_module_that_nothing_imports: "Nothing that the service starts imports this file.",
    package_of_the_same_name: "Python takes this instead",
    compiled_module_of_the_same_name: "Python takes this instead",
    service_does_not_start_from_bastion: "The service does not start from bastion.",
}
"""How an attack is seen, where that is not that the fix is not in the code that runs."""


def status(result: str) -> str:
    (about,) = (one for one in json.loads(result)["advisories"] if one["id"] == "BASTION-2026-0002")
    found = about["status"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_only_looks_like_a_fix_is_none(history: History, service: Path, attack: str) -> None:
    (affected,) = history.advisories["token"].affected
    release = {path: (service / path).read_bytes() for path in names(service)}
    assert probe.look(affected.probe, program(service)) == [], "the fix itself is seen"
    ATTACKS[attack](service)
    assert {path: (service / path).read_bytes() for path in names(service)} != release
    (outcome,) = probe.look(affected.probe, program(service))
    assert outcome.holds is False
    replaced = (
        "replaced here" if "replaced" in attack or attack == "deleted" else "The fix is not in the code that runs."
    )
    assert WHY.get(ATTACKS[attack], replaced) in outcome.why


def names(service: Path) -> list[str]:
    return sorted(path.relative_to(service).as_posix() for path in service.rglob("*") if path.is_file())


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return names(self.path)

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.is_file() else None


def program(service: Path) -> Program:
    return Program(Folder(service), "my_service")


HAND_MADE = """    ended = claims.expires_at + LEEWAY <= moment
    if ended:
        raise InvalidToken("jwt-access-10-min")
"""


def test_a_probe_may_name_several_ways_to_fix_it(service: Path) -> None:
    ways = [CHECK.replace("    if", "if", 1), "ended = claims.expires_at + LEEWAY <= moment\nif ended:\n    raise _"]
    (condition,) = probe.parse([{"file": "src/*/bastion/jwt/tokens.py", "within": "_check_now", "has": ways}])
    assert condition(Folder(service), program(service)) is probe.HOLDS
    edit(service, TOKENS, CHECK, HAND_MADE)
    assert condition(Folder(service), program(service)) is probe.HOLDS
    edit(service, TOKENS, HAND_MADE, "")
    assert condition(Folder(service), program(service)).holds is False


def test_what_a_fix_takes_out_must_be_gone_everywhere(service: Path) -> None:
    about = {"file": "src/*/bastion/jwt/tokens.py", "lacks": "jwt.decode(..., options=_)"}
    (condition,) = probe.parse([about])
    assert condition(Folder(service), program(service)).holds is False
    edit(service, TOKENS, "        options=OPTIONS,\n", "")
    assert condition(Folder(service), program(service)) is probe.HOLDS
    append(service, TOKENS, "\n\ndef f(t):\n    if t:\n        return lambda: jwt.decode(t, options=1)\n")
    assert condition(Folder(service), program(service)).holds is False
    (service / TOKENS).unlink()
    assert condition(Folder(service), program(service)).holds is False, "a file that is gone was not fixed"


@pytest.mark.parametrize(
    ("pattern", "code", "same"),
    [
        ("f(1)", "f(1)", True),
        ("f(1)", "x = g(f(1))", True),
        ("f(1)", "f(True)", False),
        ("f(1)", "f(1, 2)", False),
        ("f(...)", "f(1, *a, b=2, **c)", True),
        ("f(1, ...)", "f(1, 2)", True),
        ("f(..., 2)", "f(1, 2)", True),
        ("f(..., 2)", "f(2, 1)", False),
        ("f(..., b=2)", "f(1, a=1, b=2)", True),
        ("f(b=2, a=1)", "f(a=1, b=2)", True),
        ("f(b=2)", "f(a=1, b=2)", False),
        ("f(_)", "f(g(1).h[2])", True),
        ("f(_)", "f()", False),
        ("x = _", "x: Final = 3", True),
        ("x = ('a', ..., 'd')", "x = ('a', 'b', 'c', 'd')", True),
        ("x = ('a', ..., 'd')", "x = ('a', 'b', 'c')", False),
        ("{'a': 1, ...: ...}", "{'b': 2, 'a': 1}", True),
        ("{'a': 1}", "{'b': 2, 'a': 1}", False),
        ("if _:\n    ...\n    raise X", "if a and b:\n    f()\n    raise X", True),
        ("if _:\n    raise X", "if a and b:\n    f()\n    raise X", False),
        ("f()\n...\ng()", "f()\nh()\ng()", True),
        ("f()\ng()", "f()\nh()\ng()", False),
        ("f()", "if x:\n    f()", False),
        ("x", "if x:\n    f()", True),
        ("f()", "with x:\n    f()", True),
        ("f()", "try:\n    f()\nfinally:\n    g()", True),
        ("f()", "try:\n    g()\nexcept E:\n    f()", False),
        ("f()", "True or f()", False),
        ("f()", "f() if x else g()", False),
        ("f()", "x and f()", False),
        ("f()", "lambda: f()", False),
        ("f()", "[f() for x in y]", False),
        ("f()", "def g():\n    f()", False),
        ("f()", "'f()'", False),
        ("f()", "if not TYPE_CHECKING:\n    f()", True),
        ("f()", "if True:\n    raise X\nf()", False),
        ("f()", "while True:\n    g()\nf()", False),
        ("f()", "for x in ():\n    pass\nelse:\n    f()", True),
        ("f()", "assert False\nf()", False),
        ("x = 1", "x = 1\nx = 2", False),
        ("x = 1", "x = 1\ndef g():\n    global x\n    x = 2", False),
        ("x = 1", "x = 1\nfrom y import *", False),
        ("x = 1", "x = 1\nimport x", False),
        ("x = 1", "x = 1\nfor x in y:\n    pass", False),
    ],
)
def test_a_piece_is_compared_as_python_reads_it(pattern: str, code: str, same: bool) -> None:
    module = syntax.parse(code.encode())
    assert module is not None
    assert syntax.stands_in(syntax.snippet(pattern), module) is same


@pytest.mark.parametrize(
    "source",
    [
        b"x = " + b"(" * 10_000,
        b"x = " + b"-" * 20_000 + b"1",
        b"x" + b".a" * 20_000,
        b"x = 1" + b" + 1" * 20_000,
        b"\0",
        b"# coding: rot13\nimport os",
        b"\xff\xfe",
        b"def f(:",
    ],
    ids=range(8),
)
def test_source_that_was_made_to_hurt_is_no_python(source: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert syntax.parse(source) is None or not syntax.stands_in(syntax.snippet("f()"), syntax.parse(source))  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")


def test_python_prints_nothing_of_a_strangers_source(capfd: pytest.CaptureFixture[str]) -> None:
    assert syntax.parse(b"x = '\\d' is 'canary'") is not None
    assert capfd.readouterr() == ("", "")


EXTRA = "[project.optional-dependencies]\nbastion = "
OVER = f'{EXTRA}["flask>=3.1"]\n[tool.uv]\noverride-dependencies = '


@pytest.mark.parametrize(
    ("about", "change", "holds"),
    [
        ({"file": "a.toml", "key": "a.b", "equals": 1}, ("a.toml", "[a]\nb = 1\n"), True),
        ({"file": "a.toml", "key": "a.b", "equals": 1}, ("a.toml", "[a]\nb = true\n"), False),
        ({"file": "a.toml", "key": "a.b", "equals": 1}, ("a.toml", "# [a]\n# b = 1\n"), False),
        ({"file": "a.toml", "key": "a.b", "equals": 1}, ("a.toml", "[a\n"), False),
        ({"file": "a.yml", "key": "a.*.b", "at_most": 10}, ("a.yml", "a: {x: {b: 5}, y: {b: 9}}"), True),
        ({"file": "a.yml", "key": "a.*.b", "at_most": 10}, ("a.yml", "a: {x: {b: 5}, y: {b: 99}}"), False),
        ({"file": "a.yml", "key": "a.*.b", "at_most": 10}, ("a.yml", "a: {}"), False),
        ({"file": "a.yml", "key": "a", "equals": 1}, ("a.yml", "b: &x 1\na: *x\n"), False),
        ({"file": "a.json", "key": "a", "contains": "x"}, ("a.json", '{"a": ["y", "x"]}'), True),
        ({"file": "a.json", "key": "a", "contains": "x"}, ("a.json", '{"a": "x"}'), False),
        ({"file": "a.json", "key": "v", "at_least": "1.10"}, ("a.json", '{"v": "1.9"}'), False),
        ({"file": "a.json", "key": "v", "at_least": "1.9"}, ("a.json", '{"v": "1.10"}'), True),
        ({"file": "Dockerfile", "line": "USER 10001"}, ("Dockerfile", "FROM x\n  USER 10001\r\n"), True),
        ({"file": "Dockerfile", "line": "USER 10001"}, ("Dockerfile", "# USER 10001\n"), False),
        ({"lock": "Py_JWT", "at_least": "2.12.1"}, ("uv.lock", '[[package]]\nname="py-jwt"\nversion="2.12.1"'), True),
        ({"lock": "pyjwt", "at_least": "2.12.1"}, ("uv.lock", '[[package]]\nname = "pyjwt"\nversion = "2.9"\n'), False),
        ({"lock": "pyjwt", "at_least": "2.12.1"}, ("uv.lock", '[[package]]\nname = "pyjwt"\n'), None),
        ({"lock": "pyjwt", "at_least": "2.12.1"}, ("uv.lock", "[["), None),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{EXTRA}["flask>=3.1.3,<4"]'), True),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{EXTRA}["flask<4"]'), False),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{OVER}["Flask==3.0"]'), False),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{OVER}["flask<4"]'), False),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{OVER}["flask==3.2"]'), True),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", f'{OVER}["jinja2==3"]'), True),
        ({"requires": "flask", "at_least": "3.1"}, ("pyproject.toml", '[project]\ndependencies=["flask>=3.1"]'), False),
    ],
)  # fmt: skip
def test_values_are_compared_as_values(
    tmp_path: Path, about: dict[str, object], change: tuple[str, str], holds: bool | None
) -> None:
    name, text = change
    (tmp_path / name).write_text(text, encoding="utf-8")
    (condition,) = probe.parse([about])
    assert condition(Folder(tmp_path), program(tmp_path)).holds is holds


def test_a_line_of_a_mebibyte_is_looked_at_in_no_time(service: Path) -> None:
    """No pattern is searched in it: it is split and compared."""
    (service / "Dockerfile").write_bytes(b"a" * LARGEST_BYTES)
    (condition,) = probe.parse([{"file": "Dockerfile", "line": "a" * 100 + "b"}])
    assert condition(Folder(service), program(service)).holds is False


# --- without a protection --------------------------------------------------------------------------------------------

SEARCHES_TEXT = (
    "probe.py",
    "not any(syntax.stands_in(piece, scope) for piece in pieces)",
    "not any(all(line.strip() in source.decode() for line in text.splitlines()) for text in texts)",
)
LOOKS_AT_NO_IMPORT = ("program.py", "isidentifier() or name in self.reached", "isidentifier() or True")
TRUSTS_THE_CLAIM = (
    "check.py",
    '        status = "fixed" if holds else "fixed, unverified" if holds is None else "AFFECTED, fix lost"\n',
    '        status = "fixed"\n',
)


@pytest.mark.parametrize(
    ("attack", "sabotage"),
    [(in_comment, SEARCHES_TEXT), (in_module_that_nothing_imports, LOOKS_AT_NO_IMPORT), (None, TRUSTS_THE_CLAIM)],
    ids=["text", "used", "claim"],
)
def test_without_the_protection_the_attack_passes_for_fixed(
    history: History,
    service: Path,
    one_line: Path,
    command: Callable[..., Command],
    attack: Callable[[Path], None] | None,
    sabotage: tuple[str, str, str],
) -> None:
    """Text, used, claim: each taken out of the command alone."""
    arguments = ("check", service, "--advisories", one_line, "--format", "json")
    intact, sabotaged = command(), command(sabotage)
    for one in (intact, sabotaged):
        assert status(one(*arguments).stdout) == "fixed", "the legitimate way"
    if attack:
        attack(service)
    else:
        shutil.rmtree(service / "src")
        history.service(service, "v1.0.3", auth="jwt")
        record(service, recorded(service) | {"_commit": "v1.2.1"})
    assert status(intact(*arguments).stdout) == "AFFECTED, fix lost"
    assert status(sabotaged(*arguments).stdout) == "fixed"


def test_an_advisory_in_the_scanned_repository_says_nothing(
    service: Path, one_line: Path, command: Callable[..., Command]
) -> None:
    edit(service, TOKENS, CHECK, "")
    folder = service / "advisories"
    folder.mkdir()
    withdrawn = {**HISTORIES["token"], "withdrawn": "2026-11-21T10:00:00Z"}
    (folder / "BASTION-2026-0002.json").write_text(json.dumps(withdrawn), encoding="utf-8")
    result = command()("check", service, "--advisories", one_line, "--format", "json")
    assert status(result.stdout) == "AFFECTED, fix lost"


def test_a_search_of_text_would_at_least_miss_a_fix_that_is_gone(
    service: Path, one_line: Path, command: Callable[..., Command]
) -> None:
    """So the sabotage above really searches, and it is the comment that fools it."""
    edit(service, TOKENS, CHECK, "")
    result = command(SEARCHES_TEXT)("check", service, "--advisories", one_line, "--format", "json")
    assert status(result.stdout) == "AFFECTED, fix lost"
