"""Unit tests beside the proofs in test_redirects.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...edges.session.test_redirects import lands_on
from ...wire import ORIGIN

if TYPE_CHECKING:
    pass


def test_the_reader_of_addresses_is_as_lenient_as_a_browser() -> None:
    outside = ("//evil.example", "/\\evil.example", "/\t/evil.example", "https:evil.example", "javascript:alert(1)")
    assert [one for one in outside if lands_on(one) == ORIGIN] == []
    inside = ("/account", "account?x=//evil.example", "/%2fevil.example")
    assert [one for one in inside if lands_on(one) != ORIGIN] == []
