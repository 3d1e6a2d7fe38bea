"""`flask-bastion check`: what runs around a render, by the name and version that its caller pins.

Run it from a tag of the template (uvx --from git+<template>@<tag> flask-bastion check), never by a bare name on an
index, which somebody else could register.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import check


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 nothing found, 1 something found, 2 asked wrongly."""
    parser = argparse.ArgumentParser(prog="flask-bastion", description="Looks after services made by this template.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check.add_arguments(commands.add_parser("check", help="say what an update left half done"))
    return check.run(parser.parse_args(arguments))
