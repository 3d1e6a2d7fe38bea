"""Finds what no page, script or style of the service may hold, the team's included: a way to run or load anything.

It stops a later commit from bringing one in on a page that no walk reaches. Source: ASVS 1.2.1, 1.2.3, 3.2.2, 3.6.1;
CWE-79; OWASP DOM based XSS Prevention Cheat Sheet.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_JINJA = re.compile(r"\{\{(.*?)\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_PLACE = re.compile("\x1a(\\d+)\x1a")
_ALL = re.compile(r"\|\s*safe\b|\{%-?\s*autoescape\b|\bMarkup\s*\(")
_SCRIPT = re.compile(
    r"\.(?:inner|outer)HTML\b|\.insertAdjacentHTML\b|\bdocument\.write(?:ln)?\b|\beval\s*\(|\bFunction\s*\("
    r"|\bset(?:Timeout|Interval)\s*\(\s*[\"'`]|\bsrcdoc\b"
)
_STYLE = re.compile(r"@import\b|url\(\s*[\"']?\s*(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
ADDRESSES = frozenset({"href", "src", "action", "formaction", "data", "poster", "srcset", "background", "cite"})
LOADING = frozenset({"link", "script", "img", "iframe", "source", "audio", "video", "track", "input", "use", "image"})
MAILS = ("bastion/delivery/", "templates/bastion/letter.html")
PLUG_INS = frozenset({"object", "embed", "applet", "base", "frame"})


class Template(HTMLParser):
    """One template: `faults` is (kind, what)."""

    def __init__(self, source: str, origins: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.faults: list[tuple[str, str]] = []
        self._origins = origins
        self._filled: list[str] = []
        self._inside = ""
        code = re.sub(r"\{#.*?#\}", "", source, flags=re.DOTALL)
        self.faults += [("markup", found[0]) for found in _ALL.finditer(code)]
        self.feed(_JINJA.sub(self._marked, source))
        self.close()

    def _marked(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return ""
        self._filled.append(found[1].strip(" -\n"))
        return f"\x1a{len(self._filled) - 1}\x1a"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("script", "style") else ""
        if tag in PLUG_INS:
            self.faults.append(("assets", f"<{tag}>"))
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        plain = "".join(value.split()).lower()
        if name.startswith("on") or plain.startswith(("javascript:", "vbscript:", "data:text")):
            self.faults.append(("markup", f"<{tag} {name}={value!r}>"))
        if name not in ADDRESSES:
            return
        if [part for part in self._parts(value) if not _is_safe(part, value)]:
            self.faults.append(("markup", f"<{tag} {name}> of what somebody may have typed"))
        foreign = re.match(r"(?:[a-z][a-z0-9+.-]*:|//)", plain) and not plain.startswith(self._origins or ("\0",))
        if tag in LOADING and name not in ("action", "cite") and foreign:
            self.faults.append(("assets", f"<{tag} {name}={value!r}>"))

    def _parts(self, value: str) -> list[str]:
        return [self._filled[int(found[1])] for found in _PLACE.finditer(value)]

    def handle_endtag(self, _tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            loose = [part for part in self._parts(data) if not re.search(r"\|\s*tojson\Z", part)]
            self.faults += [("script", f"{{{{ {part} }}}} in a script") for part in loose]
            self.faults += [("markup", found[0]) for found in _SCRIPT.finditer(data)]
        elif self._inside == "style":
            self.faults += [("assets", found[0]) for found in _STYLE.finditer(data)]


def _is_safe(part: str, value: str) -> bool:
    """An address that url_for() made, one that went through the filter `link`, or what stands behind a `#`."""
    return bool(re.match(r"url_for\(|csp_nonce\(", part) or re.search(r"\|\s*link\Z", part)) or value.startswith("#")


def code_faults(source: str) -> Iterator[str]:
    """Markup() of something that is no literal, in Python."""
    for node in ast.walk(ast.parse(source)):
        called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and called == "Markup" and not isinstance(node.args[0], ast.Constant):
            yield f"{node.lineno}: {ast.unparse(node)[:60]}"


def _loaded(style: str) -> Iterator[str]:
    """What a stylesheet loads from elsewhere: the address, or the rule that imports another sheet."""
    for one in _STYLE.finditer(style):
        yield re.split(r"[\"')\s]", re.sub(r"\Aurl\(\s*[\"']?\s*", "", style[one.start() :]), maxsplit=1)[0]


def check(folder: Path, origins: tuple[str, ...] = ()) -> tuple[list[str], dict[str, list[str]]]:
    """All templates, scripts, styles and modules below `folder`: what was read, and kind to the faults."""
    read: list[str] = []
    faults: dict[str, list[str]] = {"markup": [], "script": [], "assets": []}
    for file in sorted(folder.rglob("*")):
        where = file.relative_to(folder).as_posix()
        if not file.is_file() or where.startswith(MAILS):  # a mail is no page, and has no origin
            continue
        text = file.read_text("utf-8", "replace")
        if file.suffix in (".html", ".svg", ".jinja", ".j2", ".htm", ".xhtml"):
            found = Template(text, origins).faults
        elif file.suffix in (".js", ".mjs"):
            found = [("markup", one[0]) for one in _SCRIPT.finditer(text)]
        elif file.suffix == ".css":
            found = [("assets", one) for one in _loaded(text) if not one.startswith(tuple(origins) or ("\0",))]
        elif file.suffix == ".py":
            found = [("markup", one) for one in code_faults(text)]
        else:
            continue
        read.append(where)
        for kind, what in found:
            faults[kind].append(f"{where}: {what}")
    return read, faults
