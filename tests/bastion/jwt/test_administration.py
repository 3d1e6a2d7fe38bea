"""Unit tests beside the proofs in test_administration.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...accounts import administrator

if TYPE_CHECKING:
    import pytest

    from ...running import Service


def test_a_list_without_a_page_begins_with_the_first(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = administrator(service, monkeypatch)
    listed = admin.get("/auth/users")
    assert (listed.status, listed.json["page"]) == (200, 1)
    assert admin.user is not None
    assert admin.user.email in [one["email"] for one in listed.json["items"]]
    assert listed.json == admin.users().json
