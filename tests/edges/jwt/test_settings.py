"""Proofs of jwt/settings.py: the token settings of an operator have upper limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ...running import Service


RACE, AUDIENCE = "BASTION_REFRESH_RACE_SECONDS", "BASTION_JWT_AUDIENCE"


@protects("refresh-one-use", longest=edit("jwt/settings.py", "Field(0, ge=0, le=10,", "Field(0, ge=0, le=3600,"))
def test_reuse_grace_time_is_at_most_ten_seconds(service: Service) -> None:
    """A thief who reuses a token within that time is not detected."""
    for seconds in ("0", "1", "10"):
        works(service.start(**{RACE: seconds}).app is not None, f"a grace time of {seconds} s is accepted")
    for seconds, fault in {
        "11": "Input should be less than or equal to 10",
        "86400": "Input should be less than or equal to 10",
        "-1": "Input should be greater than or equal to 0",
        "ten": "Input should be a valid integer, unable to parse string as an integer",
    }.items():
        tried = service.start(**{RACE: seconds})
        harm(tried.app is not None, f"a reuse is accepted for {seconds} seconds")
        assert tried.reasons == [f"{RACE}: {fault}. Correct it."]
