"""What proofs compute once: Argon2, compiled sources, templates, routes, SQL, parsed TOML: each of its input alone.

It stops proofs from being left out because they take too long. Nothing is replaced by something weaker: what comes out
was computed by the very function that the service calls, for the very same input.
"""

from __future__ import annotations

import copy
import functools
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_hashes: dict[Any, list[str]] = {}
KEY_LENGTH = 7  # parameters and password; a salt that was given would follow, and such a hash is never given out
_given: Counter[Any] = Counter()
_lock = threading.Lock()
_passwords: dict[tuple[str, bytes], bool] = {}
_sources: dict[bytes, CodeType] = {}
_templates: dict[Any, Any] = {}
_builders: dict[Any, Any] = {}
_tables: dict[Any, dict[str, Any]] = {}
_dialects: dict[type, Any] = {}
_statements: dict[Any, Any] = {}


def install() -> None:
    """From here on this process remembers. Needs the libraries, and not the service."""
    from argon2 import PasswordHasher
    from jinja2 import Environment
    from sqlalchemy.sql.elements import ClauseElement
    from werkzeug.routing import Rule

    _wrap(PasswordHasher, "hash", _hash)
    _wrap(PasswordHasher, "verify", _verify)
    _wrap(Environment, "compile", _compile)
    _wrap(tomllib, "loads", _loads)
    if hasattr(Rule, "_compile_builder"):  # private: where it has another name, a start takes a few milliseconds more
        _wrap(Rule, "_compile_builder", _compile_builder)
    if hasattr(ClauseElement, "_compiler"):  # private, too
        _wrap(ClauseElement, "_compiler", _compiled)


def know_sources(folder: Path) -> None:
    """Compile the modules below this folder, for children that import copies of them; an edited one is another."""
    for file in sorted(folder.rglob("*.py")):
        source = file.read_bytes()
        with suppress(SyntaxError, ValueError):  # whoever imports it is told
            _sources[source] = compile(source, str(file), "exec", dont_inherit=True)
    _wrap(SourceFileLoader, "source_to_code", _source_to_code)


def begin() -> None:
    """A new service with a new database: what others have stored is new to it."""
    _given.clear()


def known() -> dict[str, list[Any]]:
    """What is known of passwords, as JSON for another process."""
    hashes = [[*key[:5], key[5].value, key[6].hex(), made] for key, made in _hashes.items() if len(key) == KEY_LENGTH]
    return {"fits": [[stored, word.hex(), fits] for (stored, word), fits in _passwords.items()], "hashes": hashes}


def know(told: Mapping[str, list[Any]]) -> None:
    """Take over what another process has computed. Of one password and parameters the longer list is kept."""
    from argon2 import Type

    _passwords.update({(stored, bytes.fromhex(word)): fits for stored, word, fits in told["fits"]})
    for *parameters, kind, word, made in told["hashes"]:
        key = (*parameters, Type(kind), bytes.fromhex(word))
        if len(made) > len(_hashes.get(key, ())):
            _hashes[key] = made


def keep_for_itself() -> None:
    """Never give out what was hashed so far, only know what fits it: each database has it from the start."""
    _hashes.clear()


def _wrap(owner: type | ModuleType, name: str, by: Callable[..., Any]) -> None:
    real = getattr(owner, name)
    if hasattr(real, "__wrapped__"):
        return

    @functools.wraps(real)
    def remembering(self: Any, *arguments: Any, **named: Any) -> Any:
        return by(real, self, *arguments, **named)

    setattr(owner, name, remembering)


def _source_to_code(
    real: Callable[..., CodeType], loader: object, data: Any, path: Any, *arguments: Any, **named: Any
) -> CodeType:
    known = _sources.get(data) if isinstance(data, bytes) else None
    return real(loader, data, path, *arguments, **named) if known is None else _moved(known, str(path))


def _moved(code: CodeType, path: str) -> CodeType:
    """The same code, of the file that it is read from: its frames and tracebacks name that one."""
    constants = tuple(_moved(one, path) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=path, co_consts=constants)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _hash(real: Callable[..., str], hasher: Any, password: str | bytes, **more: Any) -> str:
    """One with a salt that is new to this service; for a password of an earlier proof it is the one made there.

    No service sees a hash twice, and the database of the earlier proof is gone.
    """
    key = (
        *(hasher.time_cost, hasher.memory_cost, hasher.parallelism, hasher.hash_len, hasher.salt_len, hasher.type),
        *(_bytes(password), *more.items()),
    )
    with _lock:
        number = _given[key]
        _given[key] += 1
        made = _hashes.setdefault(key, [])
    if more or number >= len(made):
        stored = real(hasher, password, **more)
        made.append(stored)
        _passwords[stored, _bytes(password)] = True
        return stored
    return made[number]


def _verify(real: Callable[..., bool], hasher: object, stored: str | bytes, password: str | bytes) -> bool:
    """The answer depends on these two alone: parameters and salt are in the stored string."""
    from argon2.exceptions import VerifyMismatchError

    key = (_bytes(stored).decode("ascii", "replace"), _bytes(password))
    if key not in _passwords:
        try:
            real(hasher, stored, password)
            _passwords[key] = True
        except VerifyMismatchError:
            _passwords[key] = False
    if not _passwords[key]:
        raise VerifyMismatchError("The password does not match the supplied hash")
    return True


_SYNTAX = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
    *("optimized", "finalize", "autoescape", "sandboxed", "is_async"),
)
"""What decides, beside filters, tests and extensions, what jinja2 makes of a source."""


def _compile(real: Callable[..., Any], environment: Any, source: Any, *arguments: Any, **named: Any) -> Any:
    if not isinstance(source, str):
        return real(environment, source, *arguments, **named)
    key = (
        *(type(environment), source, arguments, *sorted(named.items())),
        *(getattr(environment, name) for name in _SYNTAX),
        *(frozenset(environment.filters.items()), frozenset(environment.tests.items())),
        frozenset((name, type(extension)) for name, extension in environment.extensions.items()),
    )
    if key not in _templates:
        _templates[key] = real(environment, source, *arguments, **named)
    return _templates[key]


def _loads(real: Callable[..., dict[str, Any]], text: str, **named: Any) -> dict[str, Any]:
    """A new table each time, which whoever asked may change."""
    key = (text, *named.items())
    if key not in _tables:
        _tables[key] = real(text, **named)
    return copy.deepcopy(_tables[key])


def _compile_builder(real: Callable[..., Any], rule: Any, append_unknown: bool = True) -> Any:
    """Werkzeug compiles a function for each rule, of its parts alone; it gets the rule itself as an argument."""
    if rule.defaults:
        return real(rule, append_unknown)
    key = (rule.rule, tuple(rule._trace), append_unknown)
    if key not in _builders:
        _builders[key] = real(rule, append_unknown)
    return _builders[key]


def _compiled(real: Callable[..., Any], statement: Any, dialect: Any, **named: Any) -> Any:
    """SQLAlchemy keeps what it compiled for one engine, by this key. Values come with each execution.

    What is compiled keeps its dialect, and this what its app connected to: so it is the first of its kind for all.
    """
    if named.get("cache_key") is None:
        return real(statement, dialect, **named)
    others = tuple((name, repr(value)) for name, value in sorted(named.items()) if name != "cache_key")
    key = (type(dialect), named["cache_key"].key, others)
    if key not in _statements:
        _statements[key] = real(statement, _dialects.setdefault(type(dialect), dialect), **named)
    return _statements[key]
