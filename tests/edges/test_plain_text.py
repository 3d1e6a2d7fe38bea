"""Proofs of text/__init__.py: text with hidden, reordering or line-breaking characters is refused.

It could show as another text or forge a line of a log or mail. Other proofs cover which inputs are checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ..running import Service


SEEN = ("", "Ada", "r\u00e9sum\u00e9", "\u05d0\u200f\u200e!", "\U0001f98a", "a\u00a0b", "\ufffe")
LINES = "\n\r\t"
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in LINES]
UNSEEN = (*CONTROLS, "\ud800", "\udfff", "\u2028", "\u2029")
REORDERING = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]


@protects(
    "control-characters-refused",
    text=edit(
        "text/__init__.py", "        return True\n    allowed", "        return True\n    return True\n    allowed"
    ),
)
def test_no_text_that_reads_as_another_is_plain(service: Service) -> None:
    is_plain: Any = service.module("text").is_plain
    works([text for text in SEEN if not is_plain(text)] == [], "visible characters of every script are accepted")
    works(all(is_plain(f"a{end}b", lines=True) for end in LINES), "a text of several lines may contain line ends")
    hidden = [f"{before}{one}b" for one in (*UNSEEN, *REORDERING) for before in ("a", "\u00e9")]
    harm([text for text in hidden if is_plain(text, lines=True)], "hidden or reordering characters passed")
    harm([end for end in LINES if is_plain(f"a{end}b")], "a name with a line break was accepted")
    assert [text for text in hidden if is_plain(text)] == []
