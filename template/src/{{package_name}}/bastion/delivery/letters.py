"""Mail content: a fixed text and subject with one link of this service, and nothing that a client typed.

A name or title in a mail lets attackers advertise under this service's name. A line break in a subject injects a
header. A notice has the time and the client's address, as the server saw them, and its device in fixed words. Its link
leads to the request for a new password and opens nothing. Source: ASVS 1.3.11, 6.3.5, 6.3.7; CWE-93.
"""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from string import Template
from typing import Any, Final, Protocol

from flask import Flask, current_app
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from ..clock import now
from ..identity import links
from ..mail import NOTICES
from ..settings import ConfigError
from ..state import state
from ..text import is_plain
from . import transport


class MailedLink(Protocol):
    """Builds the address of a mailed link, in the chosen style."""

    def address_of(self, purpose: str, token: str | None) -> str: ...
    def by_hand(self, purpose: str, token: str) -> str: ...


EXISTS: Final = "exists"  # sent in the place of a link to an address that has an account
OURS: Final = Path(__file__).with_name("texts.toml")
THEIRS: Final = "mail.toml"
MONTHS: Final = 12  # only the list of their names has so many texts
EXTENSION: Final = "bastion-letters"
PLACES: Final = frozenset(
    {"service", "time", "number", "contact", "moment", "origin", "device", "day", "month", "year", "clock"}
)
Texts = dict[str, dict[str, Any]]


def install(app: Flask) -> None:
    """Load the texts, the team's over ours, and the layout. Raise ConfigError for a text that can't be sent."""
    texts: Texts = tomllib.loads(OURS.read_text(encoding="utf-8"))
    file = Path(app.root_path) / THEIRS
    if file.is_file():
        _override(texts, file)
    layout = Environment(
        loader=ChoiceLoader([FileSystemLoader(Path(app.root_path) / "templates"), FileSystemLoader(OURS.parent)]),
        autoescape=True,
        undefined=StrictUndefined,
    ).get_template("bastion/letter.html")
    app.extensions[EXTENSION] = (texts, layout)


def _override(texts: Texts, file: Path) -> None:
    try:
        theirs = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{THEIRS} can't be read: {error}"]) from None
    wrong = []
    for name, table in theirs.items():
        for key, text in table.items() if isinstance(table, dict) else [("", table)]:
            if fault := _fault(texts.get(name, {}).get(key), text):
                wrong.append(f"{THEIRS}: [{name}] {key} {fault}. Compare it with bastion/delivery/texts.toml.")
            else:
                texts[name][key] = text
    if wrong:
        raise ConfigError(wrong)


def _fault(ours: object, theirs: object) -> str:
    """Return the fault of the team's text in place of ours, or an empty text; checked at the start, not per mail."""
    if ours is None:
        return "is no text of the service"
    if isinstance(ours, list) != isinstance(theirs, list):
        return "must be a list of texts" if isinstance(ours, list) else "must be a text"
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == MONTHS != len(theirs):
        return f"must be a list of {MONTHS} texts"
    for text in theirs if isinstance(theirs, list) else [theirs]:
        if not isinstance(text, str):
            return "must be a list of texts" if isinstance(ours, list) else "must be a text"
        if not is_plain(text, lines=False):
            return "has a line break or another character that can't be shown"
        if not (template := Template(text)).is_valid() or not {*template.get_identifiers()} <= PLACES:
            return f"has a $ that stands for nothing; there are {', '.join(f'${name}' for name in sorted(PLACES))}"
    return ""


def write(
    purpose: str,
    email: str,
    token: str | None,
    *,
    happened_at: datetime | None = None,
    origin: str = "",
    device: str = "",
) -> EmailMessage:
    """Build the mail of this purpose to one address, as text and HTML; `token` is the link's.

    A notice has the time of its event (`happened_at`), and the client's address (`origin`) and device, if known.
    """
    texts, layout = current_app.extensions[EXTENSION]
    values = {"service": state().service_name, "time": "", "contact": state().security_contact, "origin": origin}
    values |= {"device": device, "moment": _moment(happened_at, texts["letter"]) if happened_at is not None else ""}
    values["contact"] = values["contact"] or texts["letter"]["contact"]
    if token is not None:
        values["time"] = _in_words(links.lifetime(purpose), texts["units"])
    link = state().mailed_link.address_of(purpose if token is not None else links.RESET, token)
    text = texts[purpose]
    fact = "when" if not origin else "device" if device else "from"
    facts = [texts["letter"][fact]] if purpose in NOTICES else []
    parts = {
        "subject": _filled(text["subject"], values),
        "greeting": _filled(texts["letter"]["greeting"], values),
        "lines": [_filled(line, values) for line in (*text["lines"][:1], *facts, *text["lines"][1:])],
        "button": _filled(text.get("button", ""), values),
        "link": link if "button" in text else "",
        "language": texts["letter"]["language"],
        "hint": _filled(texts["letter"]["link"], values),
        "closing": _filled(texts["letter"]["closing"], values),
        "service": values["service"],
    }
    message = _message(email, parts["subject"], _plain(parts))
    message.add_alternative(layout.render(parts), subtype="html")
    return message


def text_mail(email: str, subject: str, template: str, **values: object) -> EmailMessage:
    """Build a plain-text mail from a .txt file of the team's templates; hand_over() sends it.

    Nothing in it is escaped: text has no markup. Raises ValueError for another suffix or a line break in a header.
    """
    if not template.endswith(".txt"):
        raise ValueError("a text mail is made from a .txt file: other templates are escaped for HTML")
    text = current_app.jinja_env.overlay(autoescape=False).get_template(template).render(**values)
    return _message(email, subject, text)


def _message(email: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    sender = Address(state().service_name, addr_spec=transport.sender())
    message["From"] = sender
    message["To"] = email
    message["Subject"] = subject
    message["Date"] = format_datetime(now())
    message["Message-ID"] = make_msgid(domain=sender.domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(text)
    return message


def show(purpose: str, token: str) -> None:
    """Print the link of a mail that was just sent: only in development, where there is no mailbox."""
    print(state().mailed_link.by_hand(purpose, token), flush=True)


def _plain(parts: dict[str, Any]) -> str:
    blocks = [parts["greeting"], *parts["lines"]]
    if parts["link"]:
        blocks.append(f"{parts['button']}:\n{parts['link']}")
    return "\n\n".join([*blocks, parts["closing"]]) + "\n"


def _filled(text: str, values: dict[str, str]) -> str:
    return Template(text).safe_substitute(values)


def _moment(when: datetime, texts: dict[str, Any]) -> str:
    month = texts["months"][when.month - 1]
    return _filled(
        texts["date"], {"day": f"{when.day}", "month": month, "year": f"{when.year}", "clock": f"{when:%H:%M}"}
    )


def _in_words(time: timedelta, units: dict[str, str]) -> str:
    minutes = int(time.total_seconds()) // 60
    for unit, size in (("days", 1440), ("hours", 60)):
        if minutes % size == 0 and minutes >= 2 * size:
            return _filled(units[unit], {"number": str(minutes // size)})
    return _filled(units["minutes"], {"number": str(minutes)})
