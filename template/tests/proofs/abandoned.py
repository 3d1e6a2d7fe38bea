"""Finds what no service is built on: packages that nobody looks after any more, and versions with holes that are known.

It stops a dependency that a search engine still recommends from coming in with the next feature. Source: ASVS 15.2.1.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions

GIVEN_UP = {
    "bleach": "its authors have retired it; use nh3",
    "flask-bcrypt": "bcrypt is not what new passwords are hashed with; use this service's hasher",
    "flask-jwt": "no release since 2015; use auth=jwt of the template",
    "flask-openid": "OpenID 2.0 is gone",
    "flask-script": "no release since 2017; use commands of Flask",
    "pycrypto": "no release since 2013, with holes; use cryptography",
    "python-jose": "holes stayed open for years; use PyJWT",
}
"""By normalised name: why, and what to take instead."""
FLOORS = {
    "flask": "3.1",
    "flask-security": "5.5",
    "itsdangerous": "2.0",
    "pyjwt": "2.12",
    "werkzeug": "3.0.6",
}
"""Below these there are holes that are known, or nobody mends one. The service's own floors may be higher."""


def faults(packages: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with packages of (name, version), one line each."""
    found = []
    for name, version in packages:
        plain = re.sub(r"[-_.]+", "-", name).lower()
        if why := GIVEN_UP.get(plain):
            found.append(f"{plain} {version}: {why}")
        floor = FLOORS.get(plain)
        if floor and _numbers(version) < _numbers(floor):
            found.append(f"{plain} {version}: take {floor} or newer")
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release, without zeros at the end: 2.0 and 2 are the same."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(number) for number in found[1].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def locked(text: str) -> list[tuple[str, str]]:
    """The packages of a uv.lock."""
    return [(str(one["name"]), str(one.get("version", ""))) for one in tomllib.loads(text).get("package", [])]


def installed() -> list[tuple[str, str]]:
    """The packages of the environment that runs the proofs."""
    return [(distribution.name, distribution.version) for distribution in distributions()]


def wanted(pyproject: str) -> Iterator[tuple[str, str]]:
    """The floor of each package that the extra `bastion` asks for."""
    for requirement in tomllib.loads(pyproject)["project"]["optional-dependencies"]["bastion"]:
        if found := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([^,;]+)", requirement):
            yield found[1], found[2]
