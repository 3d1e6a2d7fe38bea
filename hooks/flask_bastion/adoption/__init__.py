"""What `flask-bastion adopt` finds out about an application, and how it puts the template's files in."""

from __future__ import annotations

from typing import Final

ASIDE: Final = "bastion-adopt"
"""The folder for files that a person has to merge, and deletes afterwards."""
