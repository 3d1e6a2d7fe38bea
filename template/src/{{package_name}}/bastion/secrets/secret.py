"""Secret values: a wrapper that masks its value, and errors that name a secret without showing it.

A value in a plain string is printed by the first debugger, crash report or `repr` that meets it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, NoReturn

MASK: Final = "**********"


class SecretMissing(LookupError):
    """A required secret is absent or blank. The text names it and its place, and holds no value."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"SECRET {name!r} not found in {where}")


class SecretUnavailable(RuntimeError):
    """The backend does not answer, and its last value is too old to count. request/errors.py answers it with 503."""

    def __init__(self, name: str, where: str, fault: str) -> None:
        super().__init__(f"SECRET {name!r} can't be read: {where} {fault}")
        self.fault = fault


class BackendFault(Exception):
    """One read from a backend failed. `fault` is the end of a sentence about it, without any value."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class Secret:
    """A value that only `reveal()` shows; text, repr and format show a mask, and pickle fails."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the plain value: call it at the point of use, and keep no copy."""
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
    """A backend's answer about one name: the value and its metadata."""

    value: Secret
    version: str = ""
    """The backend's name for this version; empty where it has none."""
    changed_at: float | None = None
    """Seconds since the epoch; None where the backend does not report it."""
    user: str | None = None
    """The password's user, where the backend manages the user as well (such as Vault's dynamic credentials)."""
    ends_at: float | None = None
    """Seconds since the epoch after which the value is no longer valid (the end of a lease)."""


def same(one: str, other: str) -> bool:
    """Compare two secret texts in constant time."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
