"""Unit tests beside the proofs in test_settings.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...edges.jwt.test_settings import AUDIENCE

if TYPE_CHECKING:
    from ...running import Service


def test_the_address_of_the_page_for_mailed_links_has_an_end(service: Service) -> None:
    longest = "https://app.example/".ljust(500, "a")
    assert service.start(BASTION_LINK_BASE=longest).app is not None
    assert service.start(BASTION_LINK_BASE=f"{longest}a").reasons == [
        "BASTION_LINK_BASE: String should have at most 500 characters. Correct it."
    ]


def test_an_audience_is_as_long_as_a_claim_may_be(service: Service) -> None:
    """A longer one would start, and then refuse every token that the service itself has signed."""
    longest = service.module("jwt.tokens").LONGEST_CLAIM
    service.setting(AUDIENCE, "a" * longest)
    client = service.client(service.user()).login()
    assert client.get("/auth/me").status == 200
    assert service.start(**{AUDIENCE: "a" * (longest + 1)}).reasons == [
        f"{AUDIENCE}: String should have at most 255 characters. Correct it."
    ]
