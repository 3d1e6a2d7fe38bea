"""fetch.js in Chromium: the token goes to the page's own service only, and a refusal leads to the page it names."""

from __future__ import annotations

from playwright.sync_api import Browser, Request, Route

from support import ROOT

[SCRIPT] = ROOT.glob("template/src/*/bastion/session/static/fetch.js")
PAGE = '<!doctype html><title>Votes</title><script src="/fetch.js" data-token="the-token"></script>'
REFUSAL = 'Cookie form-action="/login"'


def test_a_script_of_the_team_sends_the_token_and_follows_a_refusal(browser: Browser) -> None:
    asked: list[Request] = []

    def answer(route: Route, request: Request) -> None:
        asked.append(request)
        if request.url.endswith("/fetch.js"):
            route.fulfill(body=SCRIPT.read_text(encoding="utf-8"), content_type="text/javascript")
        elif request.url.endswith("/votes") and "choice" in (request.post_data or ""):
            route.fulfill(json={"counted": "yes"})
        elif request.method == "POST":
            route.fulfill(status=401, json={"status": 401}, headers={"WWW-Authenticate": REFUSAL})
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    page = browser.new_page()
    page.route("**/*", answer)
    page.goto("https://app.example/page?n=1")
    send = "([address, body]) => bastionFetch(address, { method: 'POST', body }).then((answer) => answer.json())"
    assert page.evaluate(send, ["/votes", '{"choice": "yes"}']) == {"counted": "yes"}
    assert asked[-1].headers["x-csrftoken"] == "the-token"
    before = len(asked)
    assert page.evaluate(f"({send})(['https://evil.example/votes', '']).catch((error) => error.name)") == "TypeError"
    assert len(asked) == before
    with page.expect_navigation():
        page.evaluate("void bastionFetch('/votes', { method: 'POST' })")
    assert page.url == "https://app.example/login?next=%2Fpage%3Fn%3D1"
    page.close()
