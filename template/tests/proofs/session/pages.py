"""Pages as a browser takes them apart: their elements, their forms, and every page that links lead to.

It stops walks from missing a page or a form that a team adds later: nothing is listed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..session_client import Client
    from ..wire import Response

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
TEXTS = frozenset({"text", "email", "password", "search", "tel", "url", "textarea"})
UNSENT = frozenset({"submit", "button", "reset", "image", "file"})
VALID = {"email": "a@example.com", "url": "https://app.example/", "number": "1", "date": "2024-01-01", "time": "12:00"}
MOST_PAGES = 100


@dataclass(slots=True)
class Control:
    """One named control of a form: its kind, its attributes, its present value, and what a list offers."""

    name: str
    kind: str
    attributes: dict[str, str]
    value: str = ""
    choices: list[str] = field(default_factory=list)

    @property
    def longest(self) -> int | None:
        """The characters that it may have at most, as the page tells the browser."""
        found = self.attributes.get("maxlength")
        return int(found) if found else None

    @property
    def required(self) -> bool:
        return "required" in self.attributes

    @property
    def readonly(self) -> bool:
        """Whether it only tells a password manager whose form this is."""
        return "readonly" in self.attributes

    def valid(self) -> str:
        """A value that an honest person could send."""
        if self.kind == "select":
            return self.choices[0] if self.choices else ""
        return self.value or self.attributes.get("min") or VALID.get(self.kind, "a")


@dataclass(slots=True)
class Form:
    """One form: where it is sent, how, and its controls."""

    method: str
    action: str
    controls: dict[str, Control] = field(default_factory=dict)

    def fields(self) -> list[Control]:
        """The controls that a person fills in."""
        return [one for one in self.controls.values() if one.kind not in ("hidden", *UNSENT) and not one.readonly]

    def valid(self) -> dict[str, str]:
        """A value for each field; a box is left empty."""
        return {control.name: control.valid() for control in self.fields() if control.kind != "checkbox"}

    def asks_for_password(self) -> bool:
        return "password" in {control.kind for control in self.fields()}


class Page(HTMLParser):
    """A page taken apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._control: Control | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name.lower(): value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag == "form":
            self._form = Form(attributes.get("method", "get").upper(), attributes.get("action", ""))
            self.forms.append(self._form)
        elif tag in ("input", "textarea", "select") and self._form and (name := attributes.get("name")):
            kind = attributes.get("type", "text").lower() if tag == "input" else tag
            self._control = Control(name, kind, attributes, attributes.get("value", ""))
            self._form.controls[name] = self._control
        elif tag == "option" and self._control:
            self._control.choices.append(attributes.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag in ("textarea", "select"):
            self._control = None

    def handle_data(self, data: str) -> None:
        if self._control and self._control.kind == "textarea":
            self._control.value += data.removeprefix("\r\n") if not self._control.value else data

    def nonces(self) -> list[str]:
        return [attributes.get("nonce", "") for tag, attributes in self.elements if tag == "script"]

    def addresses(self) -> list[str]:
        """What a browser loads by itself."""
        return [found[LOADED[tag]] for tag, found in self.elements if tag in LOADED and LOADED[tag] in found]

    def links(self) -> list[str]:
        """Where it leads within the service."""
        targets = [found.get("href", "") for tag, found in self.elements if tag == "a"]
        return [target.partition("#")[0] for target in targets if is_own(target)]

    def blocked(self, nonce: str, images: tuple[str, ...] = ()) -> list[str]:
        """What a policy with this nonce and these origins of images does not let run or load."""
        return [*self._blocked(nonce, images)]

    def _blocked(self, nonce: str, images: tuple[str, ...]) -> Iterator[str]:
        for tag, attributes in self.elements:
            if tag in ("style", "object", "base") or (tag == "script" and attributes.get("nonce") != nonce):
                yield f"<{tag}>"
            for name, value in attributes.items():
                if name == "style" or name.startswith("on") or value.strip().lower().startswith("javascript:"):
                    yield f"<{tag} {name}={value[:60]!r}>"
        pictures = {found.get("src", "") for tag, found in self.elements if tag == "img"}
        listed = {one for one in pictures if one.startswith(tuple(f"{origin}/" for origin in images))}
        yield from (f"loads {one}" for one in self.addresses() if not is_own(one) and one not in listed)


def is_own(address: str) -> bool:
    """Whether this is an address within the service."""
    return address.startswith("/") and not address.startswith("//")


def pages(client: Client, *first: str) -> dict[str, Response]:
    """Every page that a person reaches by links and redirects from `first`, the team's included; at most 100."""
    waiting: list[Any] = [*first]
    found: dict[str, Response] = {}
    while waiting and len(found) < MOST_PAGES:
        path = waiting.pop()
        if path and path not in found:
            found[path] = answer = client.get(path)
            waiting += Page(answer.text).links() if answer.mimetype == "text/html" else []
            waiting += [answer.location] if answer.location and is_own(answer.location) else []
    return found
