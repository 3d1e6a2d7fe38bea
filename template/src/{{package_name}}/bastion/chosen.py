"""What this service answered when it was rendered: the one module of the protections that differs between services.

The rest of bastion/ is verbatim and asks here, so no service carries the code of an answer that it did not give.
"""

from __future__ import annotations

from . import session as style
from .database import sqlite as dialect
from .secrets import env as backend

AUTH = "session"
DATABASE = "sqlite"
SECRETS = "env"
SECURITY_CONTACT = ""
"""An address or an https URL for security.txt; empty when none was given (RFC 9116)."""
VERSION = "unversioned"
"""The template's version, as git describes it."""
COMMIT = ""
"""The commit that this version was: a tag that names another one today is refused by the next update."""

__all__ = ["AUTH", "COMMIT", "DATABASE", "SECRETS", "SECURITY_CONTACT", "VERSION", "backend", "dialect", "style"]
