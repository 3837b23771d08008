"""Read the EHR clients that a site has registered from one TOML file.

`client_fields` says which keys and values the file may have. All problems are reported at once, each with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from cds_service.files.conversion_errors import suggestion
from cds_service.outbound.base_urls import FhirBase
from cds_service.settings import SettingsError
from cds_service.trust.client_fields import FIELDS, REQUIRED
from cds_service.trust.key_sets import ALGORITHMS, KeySet, read_key_set

DEFAULT_ALGORITHMS = ("ES384", "RS384")  # what CDS Hooks recommends


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One registered EHR client."""

    name: str
    preset: str = ""
    iss: str
    jku: str = ""  # what its tokens may name as the URL of its keys; the keys come from there unless they are pinned
    jku_private: bool = False  # that URL may lead to an address that is not public
    pinned: KeySet | None = None  # keys that stand in the registry
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    audiences: tuple[str, ...] = ()  # accepted at every endpoint; empty: the URL of the endpoint called
    max_life_s: int = 300
    tenants: tuple[str, ...] = ()
    fhir_bases: tuple[FhirBase, ...] | None = ()  # None: any, which only the dev profile allows
    hooks: tuple[str, ...] = ()  # empty: all
    origins: tuple[str, ...] = ()  # pages of a browser that may call on behalf of this client
    deadline_ms: int | None = None
    calls_per_minute: int | None = None  # that one process takes; further ones get 429
    supports_include: bool = False  # `_include` in searches and prefetch templates


class RegistryError(SettingsError):
    """Raised for problems of the registry; the text has one problem a line, each with file and line."""


class _Problems(list[tuple[int, str]]):
    """List of problems: the line, and `file:line: client "name": key: message`."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__()
        self._path = path
        self._lines = list(_lines(text))

    def add(self, position: int, label: str, key: str, message: str) -> None:
        """Add a problem of `key` ("": of the table as a whole) in the `[[client]]` table at `position`, from 0."""
        line = self._lines[position].get(key, self._lines[position][""]) if position < len(self._lines) else 1
        self.append((line, f"{self._path}:{line}: client {label}: {key + ': ' if key else ''}{message}"))


def load_registry(path: Path) -> tuple[Client, ...]:
    """Return all clients in the file. Raises RegistryError with every problem, OSError where it can't be read."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
        content = tomllib.loads(text)
    except UnicodeDecodeError as error:
        at = data[: error.start].count(b"\n") + 1
        raise RegistryError(f"{path}:{at}: this is no TOML file: it is not UTF-8") from None
    except ValueError as error:  # TOMLDecodeError; and what `int` raises for thousands of digits
        line = re.search(r"at line (\d+)", str(error))
        at = int(line[1]) if line else max(1, len(text.splitlines()))  # "at end of document"
        raise RegistryError(f"{path}:{at}: this is no TOML file: {error}") from None
    tables = content.pop("client", [])
    if content or not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        wrong = next(iter(content), "client")
        what = f"unknown:{suggestion(wrong, ['client'])}" if content else "write `[[client]]`, in double brackets"
        raise RegistryError(f"{path}:{_line_of(wrong, text)}: a registry holds `[[client]]` tables and nothing else; {what}")
    problems = _Problems(path, text)
    read = [(n, _client(table, n, path, problems)) for n, table in enumerate(tables)]
    clients = [(n, client) for n, client in read if client is not None]
    _check_together(clients, problems)
    if problems:
        raise RegistryError("\n".join(message for _, message in sorted(problems, key=lambda problem: problem[0])))
    return tuple(client for _, client in clients)


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Return the presets of known EHRs, by name."""
    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text(encoding="utf-8"))


@cache
def published_keys() -> frozenset[str]:
    """Return the thumbprints of keys whose private half is published: the sandbox's."""
    return frozenset(key.thumbprint for key in read_key_set(presets()["sandbox"]["jwks"].encode()).keys)


def _client(table: dict[str, Any], position: int, path: Path, problems: _Problems) -> Client | None:
    """Read one client, adding its problems; return None where it has any."""
    before = len(problems)
    name = table.get("name")
    label = f'"{name}"' if isinstance(name, str) and name.isprintable() else f"{position + 1}"

    def problem(key: str, message: str) -> None:
        problems.add(position, label, key, message)

    preset = presets().get(table.get("preset", "") if isinstance(table.get("preset", ""), str) else "")
    known = {key: value for key, value in (preset or {}).items() if key in FIELDS}
    if "jwks_file" in table:
        known.pop("jwks", None)
    values: dict[str, Any] = {}
    for key, raw in {**known, **table}.items():
        field = FIELDS.get(key)
        if field is None:
            problem(key, f"unknown key{suggestion(key, FIELDS)}")
            continue
        try:
            values[key] = field.read(raw)
        except ValueError as error:
            problem(key, str(error) or f"must be {field.allowed}")
    for key, why in REQUIRED.items():
        if key not in known and key not in table:
            problem(key, f"missing: {why}")
    if table.get("preset") is not None and preset is None:
        problem("preset", f"unknown preset{suggestion(str(table['preset']), presets())}")
    _check_keys(values, known | table, path, problem)
    if len(problems) > before:
        return None
    return Client(**{key: value for key, value in values.items() if key in Client.__struct_fields__})


def _check_keys(values: dict[str, Any], written: Mapping[str, Any], path: Path, problem: Any) -> None:
    """Check where the client's keys come from, and read pinned ones into `values`."""
    given = [key for key in ("jwks", "jwks_file") if key in written]
    if not given and "jku" not in written:
        problem("", "has no keys: give `jku` (where they are published), or `jwks` or `jwks_file` (the keys themselves)")
    if len(given) > 1:
        problem("jwks_file", "give either `jwks` or `jwks_file`")
    if given and given[0] in values:
        source = given[0]
        try:
            data = values["jwks"].encode() if source == "jwks" else (path.parent / values["jwks_file"]).read_bytes()
            if re.search(rb'"(?:d|k|p|q)"\s*:', data):
                problem(source, "holds a private or secret key; here belongs the public half, and that key should be replaced")
            values["pinned"] = keys = read_key_set(data)
        except OSError as error:
            problem(source, f"can't be read: {error.strerror}")
        except ValueError as error:
            problem(source, f"is not a JWK Set: {error}")
        else:
            for one in keys.problems or (() if keys.keys else ("it holds no key",)):
                problem(source, one)
            usable = {ALGORITHMS[one] for one in values.get("algorithms", DEFAULT_ALGORITHMS)}
            if keys.keys and not any((key.type, key.curve) in usable for key in keys.keys):
                problem("algorithms" if "algorithms" in written else source, "no key fits any of the client's `algorithms`")


def _check_together(clients: list[tuple[int, Client]], problems: _Problems) -> None:
    """Check that names are unique, and that clients with one issuer have different tenants."""
    names: set[str] = set()
    owners: dict[tuple[str, str], str] = {}
    for position, client in clients:
        label = f'"{client.name}"'
        if client.name in names:
            problems.add(position, label, "name", "is the name of a client before it")
        names.add(client.name)
        alike = [one for _, one in clients if one.iss == client.iss]
        if len(alike) > 1 and not all(one.tenants for one in alike):
            problems.add(position, label, "iss", "belongs to several clients, so each of them needs its own `tenants`")
        for tenant in client.tenants:
            owner = owners.setdefault((client.iss, tenant), client.name)
            if owner != client.name:
                problems.add(position, label, "tenants", f'"{tenant}" is a tenant of "{owner}" already')


def _line_of(name: str, text: str) -> int:
    """Return the first line with the key or table `name`; 1 where its spelling is not recognised."""
    found = re.search(rf"^\s*(?:\[\[?\s*)?[\"']?{re.escape(name)}[\"']?\s*[]=.]", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _lines(text: str) -> Iterator[dict[str, int]]:
    """Return for each `[[client]]` the line of its heading (under "") and of each of its keys."""
    lines: dict[str, int] | None = None
    inside = ""  # the quotes of a text that goes over several lines
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if re.match(r"\s*\[\[\s*client\s*\]\]", line):
            if lines is not None:
                yield lines
            lines = {"": number}
        elif lines is not None and (found := re.match(r"\s*(?:\[+\s*client\s*\.\s*)?[\"']?([\w-]+)[\"']?\s*(?:=|\]|\.)", line)):
            lines.setdefault(found[1], number)
        for quotes in ("'''", '"""'):
            if line.count(quotes) % 2:
                inside = quotes
    if lines is not None:
        yield lines
