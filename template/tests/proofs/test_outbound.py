"""SSRF: an address that a user names leads this service to no private host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .harness import edit, harm, protects, works
from .outbound import INSIDE, PUBLIC, REDIRECT, attempt, fetched, internet

if TYPE_CHECKING:
    from .running import Service

ROW = "outbound-requests-guarded"


@protects(
    ROW,
    address=edit("request/outbound.py", "not found or not all(_is_public(ip_address(a)) for a in found)", "not found"),
    redirect=edit(
        "request/outbound.py",
        "            return location\n",
        "            import urllib.request\n\n"
        "            followed = urllib.request.urlopen(urljoin(parts.geturl(), location))\n"
        '            return Fetched(200, "", followed.read())\n',
    ),
    rebinding=edit("request/outbound.py", "create_connection((found[-1], port)", "create_connection((host, port)"),
)
def test_users_reach_no_private_host_through_the_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(service, monkeypatch, public=[PUBLIC], private=[INSIDE], rebinding=[PUBLIC, INSIDE]) as (
        reached,
        answers,
    ):
        answer = fetched(service, "http://public.example/a page")
        works((answer.status, answer.media_type, answer.body) == (200, "text/plain", b"a page"), "a page is fetched")
        monkeypatch.setenv("http_proxy", f"http://{INSIDE}")
        for url in (f"http://{INSIDE}/", "http://private.example/", "http://127.1/", "http://rebinding.example/"):
            attempt(service, url)
            harm({*reached} - {PUBLIC}, f"a user reached a private host by {url}")
        answers[PUBLIC] = REDIRECT
        attempt(service, "http://public.example/")
        harm({*reached} - {PUBLIC}, "a user reached a private host by a redirect")
        for url in ("http://private.example/", "http://public.example/", "http://rebinding.example/"):
            with pytest.raises(service.module().FetchError, match=r"^The address leads to no public host\.$"):
                fetched(service, url)
