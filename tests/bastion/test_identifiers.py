"""Unit tests beside the proofs in test_identifiers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from ..edges.test_identifiers import many

if TYPE_CHECKING:
    from ..running import Service


def test_the_normal_form_of_anything_is_its_own_and_nothing_makes_it_fail(service: Service) -> None:
    users = service.module("identity.users")
    anything = st.text(st.characters(), max_size=300)  # lone surrogates too

    @many
    @given(st.one_of(anything, st.builds("{}@{}".format, anything, anything)))
    @example("\u0345\u0301@\u0345")
    @example("a" * 253 + "\ufdfa")
    @example("x@" + "\u00fc" * 70)
    def is_stable(typed: str) -> None:
        once = users.normalised(typed)
        assert users.normalised(once) == once
        assert len(once) <= users.LONGEST_IDENTIFIER

    is_stable()
