"""Secrets: `secrets.get("DATABASE_PASSWORD")` is the one way to every secret, from the one chosen backend.

A secret that is read in many ways is logged in one of them, and a default for a missing one is public. There is no
fallback, neither to a built-in value nor to another backend. For the cache see kept.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..state import state
from .kept import Fetch, Secrets
from .secret import MASK, BackendFault, Found, Secret, SecretMissing, SecretUnavailable, same

__all__ = [
    "MASK",
    "OF_EVERY_SERVICE",
    "OPTIONAL",
    "BackendFault",
    "Fetch",
    "Found",
    "Secret",
    "SecretMissing",
    "SecretUnavailable",
    "Secrets",
    "get",
    "same",
]

OF_EVERY_SERVICE: Final[Mapping[str, str]] = {
    "SECRET_KEY": "signs cookies, form tokens and challenges, and hides whose attempts are counted",
    "DATA_KEY": "encrypts in the database what has to be readable again, and seals the audit",
}
"""Required in every service, each with its use; the chosen database and style list theirs in SECRETS."""
OPTIONAL: Final[Mapping[str, str]] = {
    "SMTP_PASSWORD": "opens the mail server for BASTION_SMTP_URL's user",
}
"""Read where a deployment has them."""


def get(name: str) -> Secret:
    """Return this secret of the current app's service. Raise SecretMissing and SecretUnavailable."""
    return state().secrets.get(name)
