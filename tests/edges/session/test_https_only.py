"""Redirect from http to https: it leads only to the public origin, whatever the request says (open redirect)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, refused, works
from ...wire import HOST, ORIGIN

if TYPE_CHECKING:
    from ...running import Service


ROW = "https-only"


@protects(
    ROW,
    host=edit("edge/https_only.py", 'return f"{self._origin}/', "return f\"https://{environ['HTTP_HOST']}/"),
)
def test_clear_text_request_redirects_only_to_the_public_origin(service: Service) -> None:
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},other.example")
    client = service.client()
    home = client.get("/", scheme="http")
    works((home.status, home.location, home.body) == (308, f"{ORIGIN}/", b""), "a page is redirected to https")
    deep = client.get("/account/a%20b?x=%2F1&y=%0d%0a", scheme="http")
    works(deep.location == f"{ORIGIN}/account/a%20b?x=%2F1&y=%0d%0a", "path and query are kept")
    works(client.send("HEAD", "/login", scheme="http").status == 308, "HEAD is redirected as well")
    moved = client.get("/", headers={"Host": "other.example"}, scheme="http")
    harm(moved.location != f"{ORIGIN}/", "the Host header sets the target of the redirect")
    for path in (
        "//evil.example",
        "//evil.example/..",
        "/@evil.example",
        "/\t/evil.example",
        "/a\r\nX-Injected: 1",
        "/.evil",
    ):
        answer = client.get(path, scheme="http")
        assert answer.status == 308
        assert (answer.location or "").startswith(f"{ORIGIN}/")
        assert not (answer.location or "").startswith(f"{ORIGIN}//")
        assert (answer.location or "").isprintable()
    refused(moved, 308, ROW)
    assert moved.headers_named("Cache-Control") == ["no-store"]
