"""What this service answered, for the proofs: a proof asks these names and never guesses.

It stops proofs from passing by testing the wrong variant of a protection.
"""

from __future__ import annotations

from .backend_env import Backend as Backend
from .session_client import Client as Client
from .store_sqlite import open_store as open_store

PACKAGE = "my_service"
AUTH = "session"
DATABASE = "sqlite"
SECRETS = "env"
