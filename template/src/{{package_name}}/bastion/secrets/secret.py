"""One secret, which shows itself only when it is asked to, and what may be said when there is none.

A value that stands in a plain string is printed by the first debugger, crash report or `repr` that meets it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, NoReturn

MASK: Final = "**********"


class SecretMissing(LookupError):
    """A required secret is absent or blank. The text names it and where it was looked up, and holds no value."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"SECRET {name!r} not found in {where}")


class SecretUnavailable(RuntimeError):
    """The backend gave no answer, and what it said before does not count any more. Errors.py answers it with 503."""

    def __init__(self, name: str, where: str, fault: str) -> None:
        super().__init__(f"SECRET {name!r} can't be read: {where} {fault}")
        self.fault = fault


class BackendFault(Exception):
    """One question to a backend failed. `fault` says how, as the end of a sentence about it, without any value."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


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


@dataclass(frozen=True, slots=True)
class Found:
    """What a backend says about one name: the value, and what it knows of it."""

    value: Secret
    version: str = ""
    """The backend's name for this state of it; empty where it has none."""
    changed_at: float | None = None
    """Seconds since the epoch; None where the backend does not tell."""
    user: str | None = None
    """Whose password it is, where the backend makes the user as well (Vault's dynamic credentials)."""
    ends_at: float | None = None
    """Seconds since the epoch after which the value opens nothing any more (the end of a lease)."""


def same(one: str, other: str) -> bool:
    """Whether two secret texts are equal; the time that it takes does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
