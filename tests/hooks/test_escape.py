"""What a stranger's repository says is shown as text: no name of a file moves a cursor or gives a CI system a command.

Each attack is tried on the command as it is, and on a copy without the protection. Source: catalogue row
cli-output-escaped; ASVS 1.2.1, 16.4.1.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_bastion import escape
from histories import History

ATTACKS = {
    "title of the window": ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
    "clear": ("\x1b[2J", r"\x1b[2J"),
    "8-bit escape": ("\x9b2J", r"\x9b2J"),
    "carriage return": ("bad\rgood", r"bad\x0dgood"),
    "line end": ("a\n::error::b", r"a\x0a::error::b"),
    "backwards": ("a\u202egnp.exe", r"a\u202egnp.exe"),
    "isolated": ("a\u2066b\u2069", r"a\u2066b\u2069"),
    "invisible": ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "tag letters": ("a\U000e0041", r"a\U000e0041"),
    "bytes that are no text": ("a\udcff", r"a\udcff"),
    "delete": ("a\x7f", r"a\x7f"),
    "workflow command": ("::error::x", r":\x3aerror::x"),
    "workflow command after spaces": (" \u3000::add-mask::x", " \u3000" + r":\x3aadd-mask::x"),
    "old workflow command": ("a##[error]x", r"a##\[error]x"),
    "pipeline command": ("##vso[task.setvariable]x", r"##\vso[task.setvariable]x"),
}
HARMLESS = [
    "O'Brien & Söhne – Payments 😀.py",
    "ünïcödé/名前.py",
    "a b",
    "std::vector.py",
    "# heading",
    "<script>",
    "=1",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_would_act_is_shown(attack: str) -> None:
    data, shown = ATTACKS[attack]
    assert escape.terminal(data) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_what_does_nothing_is_shown_as_it_is(text: str) -> None:
    assert escape.terminal(text) == text


@given(st.text())
def test_no_text_moves_a_terminal_or_begins_a_command(text: str) -> None:
    shown = escape.terminal(text)
    shown.encode("utf-8")
    assert not [character for character in shown if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert not shown.strip().startswith("::")
    assert "##[" not in shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_a_document_is_ascii_and_valid(text: str) -> None:
    document = escape.document({"name": text, text: [text]})
    assert document.isascii()
    assert not (set(document) - {"\n"}) & {chr(code) for code in (*range(32), 127)}
    json.loads(document)["name"].encode("utf-8")


@pytest.mark.parametrize(
    "text", ["=cmd()", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\uff1d1", "a,b", 'a"b', "plain", "\r=1"]
)
def test_a_cell_is_no_formula(text: str) -> None:
    """And one cell remains one cell."""
    file = io.StringIO()
    csv.writer(file).writerow([escape.cell(text), "next"])
    ((read, following),) = csv.reader(io.StringIO(file.getvalue()))
    assert following == "next"
    assert read.strip()[0] not in "=+-@\uff1d"
    assert text.strip() in read or "\\x" in read


def test_a_uri_is_relative_and_whole() -> None:
    assert escape.uri("src/a b/ü?#%\udcff.py") == "src/a%20b/%C3%BC%3F%23%25%FF.py"


@pytest.fixture
def service(history: History, tmp_path: Path) -> Path:
    """Every attack is the name of a rejected change; one is what a waiver, a diff and an answer say, too."""
    service = history.service(tmp_path / "service", "v1.0.1")
    for data, _ in ATTACKS.values():
        (service / f"{data}.rej").write_text("", encoding="utf-8")
    (service / "Söhne 😀.rej").write_text("", encoding="utf-8")
    with (service / "src/my_service/bastion/clock.py").open("a", encoding="utf-8") as file:
        file.write("\n::error::in a diff\x1b[2J\n")
    until = datetime.now(UTC).date() + timedelta(days=5)
    waiver = f'advisory = "BASTION-2026-0001"\nowner = "x"\nuntil = {until}\nreason = "\\u001b[2J\\n::error::y"\n'
    (service / ".bastion-waivers.toml").write_text(f"[[waivers]]\n{waiver}", encoding="utf-8")
    return service


def acts(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a log that a terminal or a runner would act on."""
    return [
        line
        for line in result.stdout.split("\n")
        if line.strip().startswith("::")
        or "##[" in line
        or any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in line)
    ]


def test_no_text_of_the_repository_acts(
    history: History,
    service: Path,
    advisories_folder: Path,
    command: Callable[..., Callable[..., subprocess.CompletedProcess[str]]],
) -> None:
    arguments = ("check", service, "--template", history.repository.path, "--advisories", advisories_folder)
    result = command()(*arguments)
    assert result.returncode == 1
    assert acts(result) == []
    assert "Söhne 😀.rej: a rejected change." in result.stdout
    assert r"\x1b]0;pwned\x07.rej: a rejected change." in result.stdout
    assert "    | +::error::in a diff" in result.stdout
    sabotaged = command(
        ("escape.py", '    if character == " " or unicodedata.category', '    if True or unicodedata.category'),
        ("escape.py", 'if visible.lstrip().startswith("::"):', "if False:"),
    )  # fmt: skip
    assert "Waived until" in result.stdout
    (service / "a\udcff.rej").unlink()  # it would end the sabotaged command before the others are printed
    for seen in ("\x1b]0;pwned", "\n::error::x.rej"):
        assert seen in sabotaged(*arguments).stdout


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_documents_hold_it_as_data(
    history: History,
    service: Path,
    command: Callable[..., Callable[..., subprocess.CompletedProcess[str]]],
    form: str,
) -> None:
    result = command()("check", service, "--template", history.repository.path, "--format", form)
    assert result.returncode == 1
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert "\x7f" not in result.stdout
    document = json.loads(result.stdout)
    if form == "json":
        files = {finding["file"] for finding in document["findings"]}
        assert {f"{data}.rej" for name, (data, _) in ATTACKS.items() if name != "bytes that are no text"} <= files
    else:
        places = [result["locations"][0]["physicalLocation"] for result in document["runs"][0]["results"]]
        uris = [place["artifactLocation"]["uri"] for place in places]
        assert all(uri.isascii() and not uri.startswith("/") and " " not in uri for uri in uris)
