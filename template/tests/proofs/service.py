"""What this service answered, for the proofs: with the template's default answers here, so that tools read it in place.

The rendered service holds service.py.jinja instead; a proof asks these names and never guesses.
"""

from __future__ import annotations

from .session_client import Client as Client
from .store_sqlite import open_store as open_store

PACKAGE = "my_service"
AUTH = "session"
DATABASE = "sqlite"
SECRETS = "env"
