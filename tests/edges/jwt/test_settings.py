"""Proofs of jwt/settings.py: what an operator may decide about tokens has an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ...running import Service


RACE, AUDIENCE = "BASTION_REFRESH_RACE_SECONDS", "BASTION_JWT_AUDIENCE"


@protects("refresh-one-use", longest=edit("jwt/settings.py", "Field(0, ge=0, le=10,", "Field(0, ge=0, le=3600,"))
def test_reuse_grace_time_is_at_most_ten_seconds(service: Service) -> None:
    """A thief who comes within that time is not noticed."""
    for seconds in ("0", "1", "10"):
        works(service.start(**{RACE: seconds}).app is not None, f"{seconds} seconds may be forgiven")
    for seconds, fault in {
        "11": "Input should be less than or equal to 10",
        "86400": "Input should be less than or equal to 10",
        "-1": "Input should be greater than or equal to 0",
        "ten": "Input should be a valid integer, unable to parse string as an integer",
    }.items():
        tried = service.start(**{RACE: seconds})
        harm(tried.app is not None, f"a second use is forgiven for {seconds} seconds")
        assert tried.reasons == [f"{RACE}: {fault}. Correct it."]
