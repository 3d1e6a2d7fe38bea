"""Unit tests beside the proofs in test_markup.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...session.test_markup import unquoted

if TYPE_CHECKING:
    pass


# --- attributes stand in quotes -----------------------------------------------------------------------------


def test_the_search_for_missing_quotes_finds_them() -> None:
    assert len(unquoted('<p class={{ a }}>x</p><p id=x-{{ b }} title="{{ c }}">y</p><a href=/{{ d }}>z</a>')) == 3
    assert unquoted("<p class=\"a {{ b > 'c' }}\" {% if d %}id='{{ e }}'{% endif %}>{{ f(g=h) }}</p>") == []
