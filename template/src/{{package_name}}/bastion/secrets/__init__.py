"""`secrets.get("DATABASE_PASSWORD")`: one way to every secret, from the one backend that this service chose.

A secret that is read in many ways is logged in one of them, and a default that steps in for a missing one is public.
Nothing falls back: neither to a built-in value, nor from one backend to another.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NoReturn

MASK: Final = "**********"
OF_EVERY_SERVICE: Final = ("SECRET_KEY", "THROTTLE_KEY", "DATA_KEY")
"""Required whatever was chosen; the chosen database and style name theirs in SECRETS."""
OPTIONAL: Final = ("BASTION_SECRET_KEY_FALLBACKS", "DATA_KEY_FALLBACKS", "SMTP_PASSWORD")
"""Read where a deployment has them."""
Read = Callable[[str], "str | None"]


class SecretMissing(LookupError):
    """A required secret is absent or blank. The text names it and where it was looked up, and holds no value."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"SECRET {name!r} not found in {where}")
        self.name = name
        self.where = where


class Secret:
    """A value that shows itself only when asked by `reveal()`; text, repr, format and pickle show a mask or fail."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The plain value: call it where it is used, and keep no copy."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled or copied")


class Secrets:
    """The secrets of one service: `read` asks the chosen backend, `where` is how its place is called in an error.

    `unusable` says, as the end of a sentence, why a secret that is there is not read.
    """

    def __init__(self, read: Read, where: str, unusable: Read = lambda _name: None) -> None:
        self._read = read
        self.where = where
        self.unusable = unusable

    def get(self, name: str) -> Secret:
        """The secret of this name. Raises SecretMissing when it is absent, empty or only white space."""
        value = self._read(name)
        if value is None or not value.strip():
            why = self.unusable(name)
            raise SecretMissing(name, self.where if why is None else f"{self.where}, where it {why}")
        return Secret(value)

    def find(self, name: str) -> Secret | None:
        """The secret of this name, or None when it is absent: for the few that are optional."""
        value = self._read(name)
        return Secret(value) if value is not None and value.strip() else None

    def listed(self, name: str) -> list[Secret]:
        """The values of an optional secret that holds several, with commas between them."""
        listed = self.find(name)
        return [Secret(part.strip()) for part in listed.reveal().split(",") if part.strip()] if listed else []


def same(one: str, other: str) -> bool:
    """Whether two secret texts are equal; the time that it takes does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def get(name: str) -> Secret:
    """The secret of this name of the current app's service; raises SecretMissing."""
    from ..state import state

    return state().secrets.get(name)
