"""Unit tests beside the proofs in test_openapi.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...running import Service

if TYPE_CHECKING:
    pass


def test_everybody_gets_the_description_where_it_is_public(service: Service) -> None:
    service.setting("BASTION_OPENAPI", "public")
    assert service.client().get("/openapi.json").json["openapi"] == "3.1.0"


def test_no_other_word_opens_the_description(service: Service) -> None:
    for value in ("Public", "on", "yes", "", "signed_in"):
        tried = service.start(BASTION_OPENAPI=value)
        assert tried.app is None
        assert tried.reasons == ["BASTION_OPENAPI: Input should be 'off', 'signed-in' or 'public'. Correct it."]
