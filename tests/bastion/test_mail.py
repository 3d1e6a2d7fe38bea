"""Unit tests beside the proofs in test_mail.py."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import mails
from ..running import Service
from ..service import AUTH
from ..test_mail import parts, register, relay, send, waiting
from ..wire import ORIGIN

if TYPE_CHECKING:
    pass
    from ..running import Service


# --- the letter --------------------------------------------------------------------------------------------------


def test_text_and_html_hold_the_same_link_and_every_letter_intact(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = tmp_path / "mail.toml"
    theirs.write_text(
        '[letter]\nlanguage = "de"\ngreeting = "Grüß Gott,"\n[activate]\n'
        'subject = "Bestätigen Sie Ihre Adresse: $service"\n'
        'lines = ["Für „$service“ wählen Sie ein Passwort & los.", "Gültig: $time"]\n'
        '[units]\nhours = "$number Stunden"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(service.module("delivery.letters"), "THEIRS", str(theirs))
    with relay(service) as server:
        register(service, "umlaut@example.com")
        send(service)
        [mail] = server.mails
        text, html = parts(mail)
        assert mail["Subject"].startswith("Bestätigen Sie Ihre Adresse: ")
        assert "Grüß Gott," in text
        assert "Grüß Gott," in html
        assert "wählen Sie ein Passwort & los." in text
        assert "wählen Sie ein Passwort &amp; los." in html
        assert "Gültig: 24 Stunden" in text
        assert "Create my account:" in text  # what theirs leaves out is ours
        assert '<html lang="de">' in html
        [link] = re.findall(r"https://\S+", text)
        assert html.count(f'href="{link.replace("&", "&amp;")}"') == 2
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Message-ID"].endswith("@app.example>")


def test_a_mail_without_a_link_of_its_own_tells_when_and_from_where_and_how_to_stop_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs, moment = tmp_path / "mail.toml", service.now()
    places = "$service, $time, $contact, $moment, $origin"
    theirs.write_text(f'[letter]\nclosing = "{places}"\n', encoding="utf-8")
    monkeypatch.setattr(service.module("delivery.letters"), "THEIRS", str(theirs))
    letters, notices = service.module("delivery.letters"), set[str]()
    texts: Any = tomllib.loads((service.bastion / "delivery" / "texts.toml").read_text("utf-8"))
    del texts["letter"], texts["units"]
    with service.app.app_context():
        for purpose, written in texts.items():
            token = "t" * 43 if [line for line in written["lines"] if "$time" in line] else None
            mail = letters.write(purpose, "a@b.example", token, happened_at=moment, origin="203.0.113.66")
            for text in parts(mail):
                assert (mail["Subject"], "$" in text) == (written["subject"], False)
                assert ("https://" in text) == ("button" in written)
                notices |= {purpose} if "address 203.0.113.66." in text else set()
            assert f"{moment.day} {moment:%B %Y, %H:%M} UTC" in text
            assert [one for one in parts(mail) if (token or "") not in one] == []
    assert {*texts} - notices == {*service.module("identity.links").GONE, letters.EXISTS}
    assert notices == service.module("mail").NOTICES


def test_a_text_that_no_mail_uses_stops_the_start(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = tmp_path / "mail.toml"
    monkeypatch.setattr(service.module("delivery.letters"), "THEIRS", str(theirs))
    faults = {
        '[activate]\ntitle = "x"': "[activate] title is no text of the service",
        '[welcome]\nsubject = "x"': "[welcome] subject is no text of the service",
        'subject = "x"': "[subject]  is no text of the service",
        '[activate]\nlines = "x"': "[activate] lines must be a list of texts",
        "[activate]\nlines = [1]": "[activate] lines must be a list of texts",
        '[letter]\nmonths = ["x"]': "[letter] months must be a list of 12 texts",
        '[activate]\nsubject = ["x"]': "[activate] subject must be a text",
        '[activate]\nsubject = "x\\nBcc: y@z.example"': "[activate] subject has a line break",
        '[activate]\nsubject = "Dear $name"': "[activate] subject has a $ that stands for nothing",
        '[activate]\nsubject = "100 $ free"': "[activate] subject has a $ that stands for nothing",
        "[activate": "can't be read",
    }
    for text, reason in faults.items():
        theirs.write_text(text, encoding="utf-8")
        tried = service.start()
        assert tried.app is None
        [told] = tried.reasons
        assert reason in told


# --- the outbox --------------------------------------------------------------------------------------------------


def test_a_mail_that_fails_is_tried_less_and_less_often_and_given_up_after_a_day(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[datetime]()
    service.setting("BASTION_REGISTRATION", "open")

    def hand_over(_message: object) -> None:
        tried.append(service.now())
        raise OSError("the server is away")

    monkeypatch.setattr(service.module("delivery.transport"), "hand_over", hand_over)
    register(service, "a@example.com")
    table = service.module("mail").OutgoingMail.__table__
    while waiting(service) and len(tried) < 60:
        send(service)
        with service.engine.connect() as connection:
            due_at = connection.scalar(table.select().with_only_columns(table.c.due_at))
        if due_at is not None:
            service.travel(seconds=(due_at - service.now()).total_seconds() + 1)
    pauses = [(later - earlier).total_seconds() // 60 for earlier, later in pairwise(tried)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert {*pauses[7:]} == {60}
    assert timedelta(hours=24) < tried[-1] - tried[0] < timedelta(hours=25, minutes=1)
    assert waiting(service) == 0


# --- notices ----------------------------------------------------------------------------------------------------------

ASKED_FOR = {"session": ORIGIN, "jwt": "https://client.example/account#purpose="}[AUTH]
"""Where a notice leads whoever wants a new password."""


def test_each_notice_says_how_to_react_and_leaves_nothing_open(service: Service) -> None:
    letters: Any = service.module("delivery.letters")
    happened_at = service.now()
    with service.app.app_context():
        contact = service.module("state").state().security_contact
        for purpose in sorted(service.module("mail").NOTICES):
            mail = letters.write(purpose, "a@example.com", None, happened_at=happened_at, origin="2001:db8::1")
            text = mails.text(mail)
            assert "the address 2001:db8::1." in text
            assert f"{happened_at.day} {happened_at:%B %Y, %H:%M} UTC" in text
            assert "new password" in text or f"write to {contact}" in text
            assert ("new password" in text) == (ASKED_FOR in text), purpose
            assert "$" not in text + mail["Subject"]
            assert mails.link(mail) is None
