"""CORS: a service with cookie sessions does not start with a list of allowed origins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ...running import Service


@protects(
    "cors-exact-origin", pages=edit("session/__init__.py", "    if general.cors_origins:\n", "    if not general:\n")
)
def test_no_other_origin_is_let_in_where_a_cookie_signs_in(service: Service) -> None:
    works(service.start(BASTION_CORS_ORIGINS="").app is not None, "the service starts with an empty list")
    tried = service.start(BASTION_CORS_ORIGINS="https://client.example")
    harm(tried.app is not None, "the service started with an origin whose scripts may call it")
    assert tried.reasons == ["BASTION_CORS_ORIGINS is for services that sign in with tokens (auth=jwt). Unset it."]
