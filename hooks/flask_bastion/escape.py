"""What comes from a scanned repository is shown as text, whatever shows it.

A file name may hold an escape sequence that repaints the terminal, a mark that turns the text around, a command to the
CI system that prints it, or a formula. Here it becomes characters that do nothing. Source: ASVS 1.2.5, 16.4.1.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

_ACTS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that are no visible character: control, format (direction marks), surrogates, unassigned,
separators of lines and paragraphs."""
_COMMAND: Final = re.compile(r"##(?=[A-Za-z]*\[)")  # ##[error], ##vso[task...]: read anywhere in a line
_FORMULA: Final = "=+-@\uff0b\uff0d\uff1d\uff20"
_USER_INFO: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#\s]*)@")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)


def terminal(text: str) -> str:
    r"""One line of a terminal or a job's log: what would act is written as \x1b or \u202e, also a line's end.

    A runner takes a line that begins with `::`, or holds `##[`, for a command; neither is left.
    """
    visible = "".join(_shown(character) for character in text)
    if visible.lstrip().startswith("::"):
        visible = visible.replace("::", r":\x3a", 1)
    return _COMMAND.sub(r"##\\", visible)


def _shown(character: str) -> str:
    if character == " " or unicodedata.category(character) not in _ACTS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell(text: str) -> str:
    """One cell of a CSV file: a spreadsheet takes no part of it for a formula. Source: ASVS 1.2.10."""
    shown = terminal(text)
    return f"'{shown}" if shown.lstrip().startswith(tuple(_FORMULA)) else shown


def document(value: Mapping[str, Any]) -> str:
    """A JSON document in pure ASCII, so that a terminal shows it as it is; it ends with a line end."""
    return json.dumps(_valid(value), indent=2, ensure_ascii=True).replace("\x7f", "\\u007f") + "\n"


def _valid(value: Any) -> Any:
    """The same without lone surrogates, which stand for bytes of a file name and are in no valid document."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_valid(key): _valid(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(part) for part in value]
    return value


def uri(name: str) -> str:
    """The relative URI of a file in the repository, for SARIF."""
    return quote(os.fsencode(name), safe="/")


def address(text: str) -> str:
    """An address without what may be a password or a token in it: user info with a colon, and a query, are cut.

    `git@` of `ssh://git@example.com/...` is a public name, and stays.
    """
    kept = _USER_INFO.sub(_without_secret, text)
    if "://" in kept:
        kept = _QUERY.sub("?[redacted]", kept)
    return kept


def _without_secret(found: re.Match[str]) -> str:
    secret = "ssh" not in found["scheme"].lower() or ":" in found["user"] or "@" in found["user"]
    return f"{found['scheme']}[redacted]@" if secret else found[0]
