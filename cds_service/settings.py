"""Read the settings of a site from `CDS_*` environment variables.

`Settings` is the only list of settings; the errors, the help text and the table in the documentation are made from it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, DirectoryPath, Field, ValidationError

from cds_service.secret_files import SecretFileError, file_variable, secret

DEV_BANNER = "Development profile: answers anybody; no patient data"  # on every page of the dev profile
MINIMUM_SECRET = 32  # characters; 16 random bytes as hex


class SettingsError(ValueError):
    """Raised for a setting that can't be used. The text names the variable and the allowed values, never the value."""


def _yes_or_no(value: object) -> object:
    if isinstance(value, str) and value not in ("yes", "no"):  # not `true`, `1` or `on`, which Pydantic would take too
        raise ValueError
    return value


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):  # OSError: a folder of zones, such as Europe
        raise ValueError from None
    return name


# The title describes the allowed values for people.
File = Annotated[Path, Field(title="a path")]
Folder = Annotated[DirectoryPath, Field(title="an existing folder")]
Secret = Annotated[str, Field(min_length=MINIMUM_SECRET, title=f"at least {MINIMUM_SECRET} characters", repr=False)]
DatabaseUrl = Annotated[str, Field(pattern="^postgres(ql)?://", title="a postgresql:// URL", repr=False)]
TimeZone = Annotated[str, AfterValidator(_time_zone), Field(title="the name of a time zone, such as Europe/London")]
Listener = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$", title="host and port, such as 127.0.0.1:8001"),
]
Url = Annotated[str, Field(pattern="^https?://", title="an http or https URL"), AfterValidator(lambda url: url.rstrip("/"))]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no), Field(title="yes or no")]


class Settings(BaseModel):
    """All settings of one process. `load_settings` reads them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    profile: Literal["dev", "production"] = Field(
        default="dev",
        description="dev answers every caller and any browser page, for a machine without patient data; "
        "production answers only verified EHRs",
    )
    jurisdiction: Literal["US", "GB"] = Field(default="US", description="country whose recommendations and units the cards show")
    log_path: File = Field(
        default=Path("var/alerts.sqlite3"), description="the alert log, an SQLite file; its folder is made when missing"
    )
    hash_secret: Secret = Field(
        default="",
        description="key of the hashes that stand for patient, user and encounter ids in the alert log; required in production; "
        "in dev a random one is kept in hash.key beside the log",
    )
    hash_generation: int = Field(
        default=1,
        ge=1,
        le=999,
        description="which key CDS_HASH_SECRET is, counted from 1; hashes say it (k2:). `cds-service log rotate-key` tells how "
        "to change the key",
    )
    hash_secret_old: Secret = Field(
        default="",
        description="the key before CDS_HASH_SECRET, while the log has records of it: hashes of both are joined",
    )
    reveal_key: Secret = Field(
        default="",
        description="key with which comments of feedback and the ids of patient, user and encounter are sealed in the log, for "
        "those who may reveal them; without it they are not kept at all",
    )
    reveal_key_id: int = Field(
        default=1, ge=1, le=999, description="which key CDS_REVEAL_KEY is; raise it with each new one, and keep the old ones"
    )
    keep_days: int = Field(
        default=400, ge=30, le=36_500, description="days for which `cds-service log purge` leaves records in the log"
    )
    keep_sealed_days: int = Field(
        default=90, ge=1, le=36_500, description="days for which it leaves sealed comments and ids, never longer than the records"
    )
    keep_inputs: YesOrNo = Field(
        default=False,
        description="yes: the decoded resources of a call are kept, sealed with CDS_REVEAL_KEY, without ids, names of people and "
        "notes, so that a backtest can tell what other value sets would have done",
    )
    keep_inputs_days: int = Field(
        default=30, ge=1, le=36_500, description="days for which it leaves these resources, never longer than the records"
    )
    clients_file: File | None = Field(
        default=None,
        description="the EHR clients that may call, a TOML file (`cds-service clients check`, fixtures/clients.example.toml); "
        "required in production; where it is set, callers are verified in every profile",
    )
    replay_down: Literal["local", "refuse"] = Field(
        default="local",
        description="while the store of used tokens does not respond: local accepts tokens that are new to this process, reports "
        "that on /health and takes no feedback; refuse answers every caller with 503",
    )
    discovery: Literal["open", "verified"] = Field(
        default="open",
        description="open: discovery needs no token, as it holds nothing secret, but a token that is sent must be valid; "
        "verified: discovery needs a token, used once, like every other request",
    )
    database_url: DatabaseUrl = Field(
        default="",
        description="the database in which several machines remember used tokens; without it, a file beside the log is shared by "
        "the workers of one machine",
    )
    log_database_url: DatabaseUrl = Field(
        default="",
        description="the PostgreSQL database to which the alert log is shipped, where several machines share it or it is large; "
        "each machine then knows which cards the others have shown",
    )
    deadline_ms: int = Field(
        default=2000, ge=200, le=60_000, description="ms from request to answer; FHIR queries get at most 800 ms of it"
    )
    on_unavailable: Literal["412", "card"] = Field(
        default="412",
        description="the response where data was not sent and can't be fetched: status 412, or a card that lists what was not "
        "checked",
    )
    cards_dir: Folder | None = Field(default=None, description="cards to use in place of those that came with the service")
    overlay_dir: Folder | None = Field(default=None, description="this site's changes to the cards; see cards/README.md")
    approvals_file: File | None = Field(
        default=None,
        description="which cards this site has approved, written by `cds-service cards approve`; default approvals.yaml beside "
        "the log",
    )
    rxnorm_file: File | None = Field(
        default=None,
        description="the local RxNorm lookup, written by `cds-service terminology load`; used where the file exists; "
        "default rxnorm.msgpack beside the log",
    )
    max_body_bytes: int = Field(
        default=2 * 1024 * 1024,
        ge=1024,
        le=32 * 1024 * 1024,
        description="longest body of a service call; anything longer gets status 413 (feedback has 64 KiB)",
    )
    max_entries: int = Field(
        default=2000,
        ge=100,
        le=1_000_000,
        description="resources read in one call, of all prefetch keys together; data beyond them counts as not checked",
    )
    max_calls: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="service calls that one process works on at once; further ones get status 503 with Retry-After",
    )
    public_url: Url = Field(
        default="",
        description="URL under which EHRs reach this service, where that isn't its own; cards link to their pages under it",
    )
    log_required: YesOrNo = Field(
        default=False,
        description="yes: a response that can't be logged becomes status 503; no: it goes out, its record waits in memory",
    )
    on_crash: Literal["500", "card"] = Field(
        default="500",
        description="the response where no card could be evaluated: status 500, or a card that says that nothing was checked",
    )
    checking_seconds: int = Field(
        default=60,
        ge=0,
        le=3600,
        description="seconds between evaluations of the known patients in each process (/health/checking); 0: never",
    )
    drain_ms: int | None = Field(
        default=None,
        ge=0,
        le=60_000,
        description="ms between SIGTERM, when /health/ready turns to 503, and the end of new calls, so that a load balancer can "
        "switch over in time; default 2000 in production, else 0",
    )
    management_address: Listener = Field(
        default="",
        description="where /metrics and /health are served; default 127.0.0.1:8001 in production, where the port of the calls "
        "has only /health/live and /health/ready; in dev the port of the calls",
    )
    log_peers: YesOrNo = Field(
        default=False,
        description="yes: each log line of a refusal has the address that it came from; no: only the summary of each minute",
    )
    review_path: File | None = Field(
        default=None,
        description="what is counted of the log, and verdicts on cases, an SQLite file; default review.sqlite3 beside the log",
    )
    review_url: Url = Field(
        default="",
        description="https URL under which people reach the review pages (without /review); required for them in production",
    )
    access_file: File | None = Field(
        default=None,
        description="who may sign in to the review pages from outside: identity provider, proxy, roles of groups, a TOML file "
        "(fixtures/access.example.toml)",
    )
    time_zone: TimeZone = Field(default="UTC", description="the site's time zone, in which days are counted")
    otlp_endpoint: Url = Field(
        default="",
        description="where traces of calls are sent (OpenTelemetry, OTLP over HTTP, ending in /v1/traces); needs the extra otel",
    )

    @property
    def management(self) -> tuple[str, int] | None:
        """Host and port for /metrics and /health, None where they are on the port of the calls."""
        host, _, port = (self.management_address or ("127.0.0.1:8001" if self.profile == "production" else "")).rpartition(":")
        return (host.strip("[]"), int(port)) if port else None

    @property
    def draining_seconds(self) -> float:
        """Seconds between "not ready" and the end of a process."""
        return (2000 if self.profile == "production" else 0) / 1000 if self.drain_ms is None else self.drain_ms / 1000


class Option(NamedTuple):
    """One setting in words."""

    name: str
    allowed: str
    meaning: str
    default: Any
    secret: bool = False  # may be in a file instead

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return f"CDS_{self.name.upper()}"


def _allowed(schema: dict[str, Any]) -> str:
    """Return the values that the JSON Schema of a setting allows, in words."""
    one = schema.get("anyOf", [schema])[0]
    if "enum" in one:
        return " or ".join(one["enum"])
    if "minimum" in one:
        return f"a whole number from {one['minimum']} to {one['maximum']}"
    return str(one["title"])


_SCHEMA = Settings.model_json_schema()["properties"]
OPTIONS = tuple(
    Option(name, _allowed(_SCHEMA[name]), field.description or "", field.default, secret=not field.repr)
    for name, field in Settings.model_fields.items()
)


def load_settings(**overrides: str | None) -> Settings:
    """Read the settings from the environment, where an empty variable counts as not set, and secrets from files too.

    `overrides` (by field name, None for not given) win over it.

    Raises SettingsError, with a line for each variable that can't be used.
    """
    given: dict[str, Any] = {}
    try:
        for one in OPTIONS:
            text = overrides.get(one.name) or (secret(one.variable) if one.secret else os.environ.get(one.variable))
            if text:
                given[one.name] = text
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = {one["loc"][0] for one in error.errors(include_input=False)}
    raise SettingsError("\n".join(f"{one.variable} must be {one.allowed}" for one in OPTIONS if one.name in wrong))


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which a process that is started reads the same settings.

    Without secrets: it inherits the variables and files from which this process read its own.
    """
    given: dict[str, str] = {}
    for one in OPTIONS:
        value = getattr(settings, one.name)
        if not one.secret:
            given[one.variable] = "" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return given


def settings_help() -> str:
    """Return a paragraph for each setting: variable, meaning, allowed values, default."""
    lines = []
    for option in OPTIONS:
        shown = f", default {option.default}" if option.default else ""
        name = f"{option.variable} or {file_variable(option.variable)}" if option.secret else option.variable
        lines.append(f"{name}\n    {option.meaning}\n    ({option.allowed}{shown})")
    return "\n".join(lines)
