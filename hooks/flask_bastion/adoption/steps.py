"""List the steps, in order, by which a team brings its application under the template.

A list for all cases is too long to be read: a step is listed only where it applies, with the places.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import ASIDE
from .origin import is_reached_by_others
from .proposals import DEFAULT
from .successors import SIGNING_IN
from .survey import Survey, decisive, seams


def steps(found: Survey, *, written: bool) -> list[str]:
    """The steps in order, a sentence or two each; if something prevents the first one, only that is listed."""
    if found.hindrances:
        return [*found.hindrances, "Then ask again: what follows depends on it."]
    return [
        *_beginning(found),
        *_source(found, written=written),
        *(() if written else ("The same command with --write adds the missing files, and overwrites nothing.",)),
        *_files(found),
        *_libraries(found),
        *_code(found),
        *_data(found),
        *_secrets(found),
        *_end(found),
    ]


def _beginning(found: Survey) -> Iterator[str]:
    if not found.found.made_in and not found.routes:
        yield "No Flask application was seen here. A new service begins with `copier copy`, and needs no adoption."


def _source(found: Survey, *, written: bool) -> Iterator[str]:
    if is_reached_by_others(found.source):
        return
    what = f"Updates would come from {found.source}, a folder that exists only on this machine."
    if written:
        yield (
            f"{what} Write the template's address into _src_path of .copier-answers.yml, and with the keys that sign "
            "its tags into .bastion-trust.toml; until then no update is taken."
        )
    else:
        yield f"{what} Name the template's address: --source ADDRESS."


def _files(found: Survey) -> Iterator[str]:
    app, settings = seams(found.package)
    if "README.md" in found.new:
        yield f"README.md is new and yours; where it speaks of notes/, the example, look into {ASIDE}/example/."
    for name in sorted(found.aside, key=lambda name: (name != "pyproject.toml", name)):
        beside = f"{ASIDE}/{name}"
        if name == "pyproject.toml":
            yield f"Read {beside}, which is the template's with what yours says besides, and put it in place of yours."
            if found.overruled:
                yield f"What you say differently there is not in it; decide about each: {', '.join(found.overruled)}."
        elif name == "README.md":
            yield f"Keep your README.md. {beside} says how a service is worked with: take from it what helps."
        elif name == app:
            yield f"{app} is where a service begins: bring yours into the form of {beside}."
        elif name in decisive(found.package):
            yield f"{name} was there before, and decides about protection: put {beside} in its place, or know why not."
        elif name == settings:
            yield f"{settings} holds a class Settings(TeamSettings): add to yours what {beside} has."
        else:
            yield f"Put {beside} in place of {name}, which is the template's. Its first line says where yours go."


def _libraries(found: Survey) -> Iterator[str]:
    if lists := [name for name in ("requirements.txt", "setup.py", "Pipfile") if name in found.has]:
        yield (
            f"pyproject.toml asks for what {' and '.join(lists)} asked for, without what the template replaces or "
            "brings. Take out libraries that no module imports, loosen pins that are old, and remove the lists."
        )
    if replaced := _named(found, "replaced"):
        yield f"Take out of the code, as the list of libraries says: {replaced}."
    if colliding := _named(found, "collides"):
        yield f"Make the code fit the versions that the template needs: {colliding}."


def _named(found: Survey, verdict: str) -> str:
    return ", ".join(dict.fromkeys(one.asked.name for one in found.libraries if one.verdict == verdict))


def _code(found: Survey) -> Iterator[str]:
    app, settings = seams(found.package)
    package, made_in = f"src/{found.package}", found.found.made_in
    if made_in and not found.found.folder:
        yield f"Move your modules, templates/ and static/ below {package}/ with git mv, and import them relatively."
    elif found.found.folder not in ("", package):
        yield f"Move all files of {found.found.folder}/ to {package}/ with git mv."
    if made_in and made_in != app:
        yield (
            f"{made_in} makes a Flask app; bastion makes it now. Its additions (blueprints, commands) move into "
            f"create_app(app) of {app}. What configures it becomes fields of Settings in {settings}, read from "
            "APP_<NAME>; the secret key, hosts, cookies and the database are settings of bastion."
        )
    own = [route for route in found.routes if not found.answered_at(route.path)]
    if own:
        undecided = sum(not route.guard for route in own)
        yield (
            "Put exactly one of @public, @login_required, @requires(...) from .bastion below the line that declares "
            f"each route: {undecided} have no guard yet, {len(own) - undecided} have one to translate. A route that is "
            "forgotten stops the start, and is named."
        )
    taken = {route.path: place for route in found.routes if (place := found.answered_at(route.path))}
    if taken:
        places = (path if path == place else f"{path} (at {place})" for path, place in taken.items())
        yield f"Take out what bastion answers itself: {', '.join(places)}."
    if own:
        yield f"{ASIDE}/example/ shows how a feature looks: routes, model, migration, tests. Nothing imports it."
    if found.answers["auth"].value == "session":
        yield (
            "Forms that post hold {{ form.hidden_tag() }} or the hidden field csrf_token. Scripts and styles are files "
            "in static/, none of another host. tests/proofs/session/test_markup.py names the rest."
        )


def _data(found: Survey) -> Iterator[str]:
    name, package = found.answers["project_name"].value, found.package
    asked = {one.asked.name for one in found.libraries}
    if asked & SIGNING_IN:
        yield (
            f"Invite people by `uv run {name} users create EMAIL`: old password hashes are not taken over. Where rows "
            "belong to people, a migration of yours matches them by address."
        )
    if found.answers["database"].why == DEFAULT and not asked & {"flask-sqlalchemy", "sqlalchemy"}:
        return
    old = next((one for one in sorted(found.has) if one.endswith("/versions/")), "")
    if "flask-sqlalchemy" in asked:
        yield (
            "Models extend Base of .bastion.database with mapped_column(); Model.query becomes "
            "db.session.scalars(select(Model)). People are in auth_user: rows of yours refer to its id, a UUID."
        )
    if old:
        yield (
            f"Move {old}*.py to src/{package}/migrations/, and give the oldest one branch_labels = ("
            f'"team",). A database to which they were applied keeps its data: `uv run {name} db upgrade` adds what '
            "bastion needs."
        )
    yield (
        f'`uv run {name} dev db upgrade`, then `uv run {name} dev db revision "what changed"`, which compares models '
        "with the upgraded database. It proposes to drop tables that no model names, as the old one of users: read "
        "what it writes, and keep that table until all users are invited."
    )
    if found.answers["database"].value == "sqlite":
        yield "Only its owner may read the database file: chmod 600 on it."


def _secrets(found: Survey) -> Iterator[str]:
    if found.secrets:
        yield (
            "Exchange each secret that stands in the source: every reader of the repository knows it. Take it out. "
            "Name secrets of your own in `secrets` of Settings; the README says where they are read from."
        )


def _end(found: Survey) -> Iterator[str]:
    name = found.answers["project_name"].value
    if "tests/__init__.py" in found.has:
        yield "git rm tests/__init__.py: with it the proofs would be imported twice, under two names."
    yield f"uv lock && uv run {name} dev access    # writes docs/access.md: who may call which route"
    yield "uv run pytest    # your tests, which sign in by `service.client(service.user()).login()`, and every proof"
    yield f"rm -r {ASIDE} && flask-bastion check --template FOLDER, and commit. From here on: flask-bastion update"
