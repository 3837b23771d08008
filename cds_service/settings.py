"""What a site can set: one table, read from `CDS_*` environment variables and command-line overrides.

`OPTIONS` is the only list of settings; the reader, the errors and the help text are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

_SECRET = ("hash_secret", "database_url")
DEV_BANNER = "Development profile: answers anybody; no patient data"  # on every page of the dev profile
MINIMUM_SECRET = 32  # characters; 16 random bytes as hex


class SettingsError(ValueError):
    """A setting that can't be used. The text names the variable and what is allowed, never the value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one process. `OPTIONS` says what each means."""

    profile: Literal["dev", "production"] = "dev"
    jurisdiction: Literal["US", "GB"] = "US"
    log_path: Path = Path("var/alerts.sqlite3")
    hash_secret: str = ""
    clients_file: Path | None = None
    replay_down: Literal["local", "refuse"] = "local"
    discovery: Literal["open", "verified"] = "open"
    database_url: str = ""
    deadline_ms: int = 2000
    on_unavailable: Literal["412", "card"] = "412"
    cards_dir: Path | None = None
    overlay_dir: Path | None = None
    approvals_file: Path | None = None
    rxnorm_file: Path | None = None
    max_body_bytes: int = 2 * 1024 * 1024
    max_entries: int = 2000
    max_calls: int = 64
    public_url: str = ""
    log_required: bool = False
    on_crash: Literal["500", "card"] = "500"
    checking_seconds: int = 60
    drain_ms: int | None = None
    otlp_endpoint: str = ""

    @property
    def draining_seconds(self) -> float:
        """Seconds between "not ready" and the end of a process."""
        return (2000 if self.profile == "production" else 0) / 1000 if self.drain_ms is None else self.drain_ms / 1000

    def __repr__(self) -> str:
        """Without secrets, so that printing settings is harmless."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in _SECRET)
        return f"Settings({', '.join(shown)})"


class Option(NamedTuple):
    """One row of the table: the field of `Settings`, how its text is read, what is allowed, what it means."""

    name: str
    read: Callable[[str], Any]  # raises ValueError for a text that is not allowed
    allowed: str
    meaning: str

    @property
    def variable(self) -> str:
        return f"CDS_{self.name.upper()}"


def _one_of(*words: str) -> tuple[Callable[[str], str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read, " or ".join(words)


def _whole_number(low: int, high: int) -> tuple[Callable[[str], int], str]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return read, f"a whole number from {low} to {high}"


def _yes_or_no(text: str) -> bool:
    return _one_of("yes", "no")[0](text) == "yes"


def _secret(text: str) -> str:
    if len(text) < MINIMUM_SECRET:
        raise ValueError
    return text


def _database(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError
    return text


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError
    return Path(text)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text.rstrip("/")


OPTIONS: tuple[Option, ...] = (
    Option(
        "profile",
        *_one_of("dev", "production"),
        "dev answers anybody and any browser page, for a machine without patient data; production serves only verified EHRs",
    ),
    Option("jurisdiction", *_one_of("US", "GB"), "whose recommendations and units the cards show"),
    Option("log_path", Path, "a path", "the alert log, an SQLite file; its folder is made when missing"),
    Option(
        "hash_secret",
        _secret,
        f"at least {MINIMUM_SECRET} characters",
        "key of the hashes that stand for patient, user and encounter ids in the alert log; required in production, "
        "elsewhere a random one is kept in hash.key beside the log",
    ),
    Option(
        "clients_file",
        Path,
        "a path",
        "the EHR clients that may call, a TOML file (`cds-service clients check`, fixtures/clients.example.toml); required in "
        "production; where it is set, callers are verified in every profile",
    ),
    Option(
        "replay_down",
        *_one_of("local", "refuse"),
        "while it can't be looked up whether a token was used before: local lets in what this process has not seen itself, says "
        "so on /health and takes no feedback; refuse lets nobody in",
    ),
    Option(
        "discovery",
        *_one_of("open", "verified"),
        "open answers discovery also without a token, as it holds nothing secret; a token that is sent must be good, though; "
        "verified asks for a token, used once, as everywhere else",
    ),
    Option(
        "database_url",
        _database,
        "a postgresql:// URL",
        "the database in which several machines remember used tokens; without it, a file beside the log is shared by the workers "
        "of one machine",
    ),
    Option("deadline_ms", *_whole_number(200, 60_000), "ms from request to answer; FHIR queries get at most 800 ms of it"),
    Option(
        "on_unavailable",
        *_one_of("412", "card"),
        "what an EHR gets when data was not sent and can't be fetched: status 412, or a card that says what was not checked",
    ),
    Option("cards_dir", _folder, "an existing folder", "cards to use in place of those that came with the service"),
    Option("overlay_dir", _folder, "an existing folder", "what this site says differently from the cards; see cards/README.md"),
    Option(
        "approvals_file",
        Path,
        "a path",
        "which cards this site has approved, written by `cds-service cards approve`; default approvals.yaml beside the log",
    ),
    Option(
        "rxnorm_file",
        Path,
        "a path",
        "the local RxNorm lookup, written by `cds-service terminology load` and used where it is there; "
        "default rxnorm.msgpack beside the log",
    ),
    Option(
        "max_body_bytes",
        *_whole_number(1024, 32 * 1024 * 1024),
        "longest body of a service call; anything longer gets status 413 (feedback has 64 KiB)",
    ),
    Option(
        "max_entries",
        *_whole_number(100, 1_000_000),
        "resources read in one call, of all prefetch keys together; what comes after them counts as not checked",
    ),
    Option(
        "max_calls",
        *_whole_number(1, 10_000),
        "service calls that one process works on at once; further ones get status 503 with Retry-After",
    ),
    Option(
        "public_url",
        _url,
        "an http or https URL",
        "address under which EHRs reach this service, where that isn't its own; cards link to their pages under it",
    ),
    Option(
        "log_required",
        _yes_or_no,
        "yes or no",
        "yes: an answer that can't be logged is held back (status 503); otherwise it goes out and its record waits in memory",
    ),
    Option(
        "on_crash",
        *_one_of("500", "card"),
        "what an EHR gets when no card could be evaluated: status 500, or a card that says that nothing was checked",
    ),
    Option(
        "checking_seconds",
        *_whole_number(0, 3600),
        "how often each process decides its known patients (/health/checking); 0 for never",
    ),
    Option(
        "drain_ms",
        *_whole_number(0, 60_000),
        "ms between a process saying on /health/ready that it ends (SIGTERM) and taking no more calls, so that a load balancer "
        "can turn away in time; default 2000 in production, else 0",
    ),
    Option(
        "otlp_endpoint",
        _url,
        "an http or https URL",
        "where traces of calls are sent (OpenTelemetry, OTLP over HTTP, ending in /v1/traces); needs the extra otel",
    ),
)


def load_settings(environ: Mapping[str, str], overrides: Mapping[str, str | None] | None = None) -> Settings:
    """Settings from environment variables; `overrides` (by field name, as text, None for not given) win over them.

    An empty variable counts as not set. Raises SettingsError for the first one that can't be used.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        text = (overrides or {}).get(option.name) or environ.get(option.variable)
        if not text:
            continue
        try:
            values[option.name] = option.read(text)
        except ValueError:
            raise SettingsError(f"{option.variable} must be {option.allowed}") from None
    return Settings(**values)


def settings_help() -> str:
    """One paragraph per setting: variable, what is allowed, default, meaning."""
    defaults = Settings()
    lines = []
    for option in OPTIONS:
        default = getattr(defaults, option.name)
        shown = f", default {default}" if default else ""
        lines.append(f"{option.variable}\n    {option.meaning}\n    ({option.allowed}{shown})")
    return "\n".join(lines)
