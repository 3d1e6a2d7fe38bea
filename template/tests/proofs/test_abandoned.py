"""Proofs of abandoned.py: no installed or locked package is abandoned or has known vulnerabilities.

They stop a package that was given up years ago from being the way into a service.
"""

from __future__ import annotations

from . import place
from .harness import edit, harm, protects, works

LOCK = 'version = 1\n\n[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "x" }}\n'
HERE = "/tests/proofs/abandoned.py"


@protects(
    "no-abandoned-packages",
    ban=edit(HERE, "        if why := GIVEN_UP.get(plain):\n", "        if why := None:\n"),
    floor=edit(HERE, "if floor and _numbers(version) < _numbers(floor):", "if floor and not version:"),
)
def test_no_package_is_installed_that_was_given_up_or_has_known_holes() -> None:
    from . import abandoned

    here = abandoned.installed()
    assert {"flask", "werkzeug", "sqlalchemy"} <= {name.lower() for name, _ in here}
    works(abandoned.faults(here) == [], "the installed packages are maintained")
    file = place.root / "uv.lock"
    if file.is_file():  # the service makes it; the template renders none
        works(abandoned.faults(abandoned.locked(file.read_text("utf-8"))) == [], "the locked packages are maintained")
    floors = dict(abandoned.wanted((place.root / "pyproject.toml").read_text("utf-8")))
    assert {"flask", "werkzeug"} <= floors.keys()
    works(abandoned.faults(floors.items()) == [], "the minimum versions in pyproject.toml are safe")
    just = [abandoned.faults([pair]) for pair in abandoned.FLOORS.items()]
    works(not any(just), "the oldest allowed versions are accepted")

    unseen = [
        name
        for name in (*abandoned.GIVEN_UP, "Flask_JWT", "python.jose", "Flask-Script")
        if not abandoned.faults(abandoned.locked(LOCK.format(name=name, version="99.0")))
    ]
    harm(unseen, "an abandoned package could be installed")
    old = (
        "flask==3.0.3",
        "werkzeug==3.0.5",
        "itsdangerous==1.1.0",
        "pyjwt==2.11.9",
        "flask-security==5.4.3",
        "PyJWT==1.7",
    )
    allowed = [one for one in old if not abandoned.faults([(one.partition("==")[0], one.partition("==")[2])])]
    harm(allowed, "a version with known vulnerabilities could be installed")
    assert {one.partition("==")[0].lower() for one in old} == set(abandoned.FLOORS)
