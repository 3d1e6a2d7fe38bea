"""Another site, open in the browser of somebody who is signed in, tries what such sites try. Chromium is the judge.

Each attempt is first made by a page of the service itself, or against a server without protection, so that "nothing
happened" means that it was stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from journeys.person import PASSWORD, Person, person
from journeys.running import Running

FORM = """<form id=f method=post action="{target}/notes/new" enctype="{kind}" target=_top>
<input name=title value=planted><input name=body value=planted><input name=csrf_token value="">
</form><script>document.getElementById("f").submit()</script>"""
FRAME = """<iframe id=f width=800 height=600 src="{target}/{path}"></iframe>"""
EMPTY = "<p>nothing to see</p>"


class Site:
    """A web server of somebody else: another origin, and another site to the browser."""

    def __init__(self) -> None:
        self.page = EMPTY
        self.headers: dict[str, str] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.page.encode()
                self.send_response(200)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **site.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Site]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def evil() -> Iterator[Site]:
    with Site().serving() as site:
        yield site


@pytest.fixture
def open_server() -> Iterator[Site]:
    """What the same attempts succeed against: a server without any protection."""
    with Site().serving() as site:
        site.page = "<h1>Notes</h1><p>secret of the victim</p>"
        yield site


@pytest.fixture(scope="module")
def victim_address(browser: Browser, pages: Running) -> str:
    pages.command("users", "create", "victim@example.com")
    with person(browser, pages) as victim:
        victim.accepts(pages.mailed_link("victim@example.com"))
    return "victim@example.com"


@pytest.fixture
def victim(browser: Browser, pages: Running, victim_address: str) -> Iterator[Person]:
    """Somebody who is signed in, with one note."""
    context = browser.new_context()
    one = Person(context.new_page(), pages)
    one.signs_in(victim_address)
    one.opens("/notes/new")
    one.fills(title="Mine alone", body="secret of the victim")
    one.presses("Save note")
    yield one
    context.close()


def titles(victim: Person) -> list[str]:
    victim.opens("/notes")
    return [text.strip() for text in victim.page.locator("main li h2").all_inner_texts()]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
def test_no_form_of_another_site_writes_a_note(victim: Person, evil: Site, kind: str) -> None:
    evil.page = FORM.format(target=victim.running.origin, kind=kind)
    with victim.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        victim.opens(evil.origin)
    assert posted.value.status in (400, 403)
    assert "planted" not in titles(victim)
    assert "Mine alone" in titles(victim)  # still signed in: it was not the login that was missing


def test_no_script_of_another_site_writes_a_note(victim: Person, evil: Site) -> None:
    victim.opens(evil.origin)
    said = victim.page.evaluate(
        """async target => {
          const tries = [];
          for (const [type, body] of [["application/x-www-form-urlencoded", "title=planted&body=planted"],
                                      ["text/plain", "title=planted"], ["application/json", "{}"]])
            for (const mode of ["no-cors", "cors"])
              tries.push(await fetch(target + "/notes/new",
                {method: "POST", mode, credentials: "include", headers: {"Content-Type": type}, body})
                .then(answer => answer.type, () => "refused"));
          return tries;
        }""",
        victim.running.origin,
    )
    assert set(said) <= {"opaque", "refused"}
    assert "planted" not in titles(victim)


def test_no_other_site_reads_what_the_victim_sees(victim: Person, evil: Site, open_server: Site) -> None:
    """Fetched with cookies, as a script, an image or a style sheet: nothing of it comes into the foreign page."""
    read = """async address => {
      const found = [];
      for (const credentials of ["include", "omit"])
        found.push(await fetch(address, {credentials}).then(a => a.text(), () => ""));
      return found.join(" ");
    }"""
    open_server.headers = {"Access-Control-Allow-Origin": evil.origin, "Access-Control-Allow-Credentials": "true"}
    victim.opens(evil.origin)
    assert "secret of the victim" in victim.page.evaluate(read, open_server.origin)  # such a server is read
    for path in ("/notes", "/account", "/account/export", "/users", "/static/bastion/bastion.css"):
        assert victim.page.evaluate(read, victim.running.origin + path).strip() == ""
    loads = """async address => (await Promise.all(["img", "script", "link"].map(kind => new Promise(done => {
      const e = document.createElement(kind);
      if (kind === "link") e.rel = "stylesheet";
      e.onload = () => done("loaded"); e.onerror = () => done("refused");
      e[kind === "link" ? "href" : "src"] = address; document.head.append(e);
    })))).join(" ")"""
    assert victim.page.evaluate(loads, victim.running.origin + "/notes") == "refused refused refused"
    assert victim.page.evaluate(loads, victim.running.origin + "/static/bastion/icon.svg") == "refused refused refused"


@pytest.mark.parametrize("path", ["notes", "account", "login", "account/delete", "nothing-here"])
def test_no_other_site_frames_a_page(victim: Person, evil: Site, open_server: Site, path: str) -> None:
    evil.page = FRAME.format(target=open_server.origin, path=path)
    victim.opens(evil.origin)
    assert "secret" in victim.page.frames[1].content()  # an open server is framed
    evil.page = FRAME.format(target=victim.running.origin, path=path)
    victim.opens(evil.origin)
    victim.page.wait_for_load_state("networkidle")
    assert victim.page.frames[1].url.startswith("chrome-error://")


def test_no_note_runs_a_script_or_loads_from_elsewhere(victim: Person, evil: Site) -> None:
    asked: list[str] = []
    victim.page.on("request", lambda request: asked.append(request.url))
    for number, text in enumerate(
        (
            "<script>document.title = 'taken'</script>",
            f"<img src={evil.origin}/pixel onerror=\"document.title = 'taken'\">",
            f"<svg onload=\"document.title = 'taken'\"><image href={evil.origin}/x>",
            "javascript:document.title='taken'",
            f"<base href={evil.origin}><form action={evil.origin}><input name=password>",
            "{{ config.SECRET_KEY }}",
        )
    ):
        victim.opens("/notes/new")
        victim.fills(title=f"{number} {text}"[:100], body=text)
        victim.presses("Save note")
        victim.opens("/notes")
        assert victim.page.title() == "Notes – my-service"
        victim.reads(text)
    assert not [address for address in asked if address.startswith(evil.origin)]


def test_a_window_that_another_site_opens_cannot_be_steered(victim: Person, evil: Site, open_server: Site) -> None:
    """Cross-Origin-Opener-Policy cuts the handle: the opener can't watch where the victim goes."""
    lost = """([address, tries]) => new Promise(done => {
      const other = window.open(address);
      const look = () => other === null || other.closed ? done(true) : tries-- ? setTimeout(look, 100) : done(false);
      look();
    })"""
    victim.opens(evil.origin)
    assert victim.page.evaluate(lost, [open_server.origin, 20]) is False  # an open server's window is in its hand
    assert victim.page.evaluate(lost, [victim.running.origin + "/notes", 300]) is True


def test_after_signing_in_nobody_lands_on_another_site(browser: Browser, pages: Running, evil: Site) -> None:
    pages.command("users", "create", "walker@example.com")
    with person(browser, pages) as mallory:
        mallory.accepts(pages.mailed_link("walker@example.com"))
        mallory.opens(f"/login?next=/%09/{evil.origin[7:]}")
        mallory.reads("Bad request")
        for wanted in (evil.origin, f"//{evil.origin[7:]}", f"/\\{evil.origin[7:]}"):
            mallory.page.context.clear_cookies()
            mallory.opens(f"/login?next={wanted}")
            mallory.fills(identifier="walker@example.com", password=PASSWORD)
            mallory.presses("Sign in")
            mallory.is_at("/notes")
