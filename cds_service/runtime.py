"""Hold the parts that a process makes once and keeps: settings, cards, log, HTTP client."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b

import msgspec

from cds_service.alert_log import AlertLog, load_or_create_secret
from cds_service.alert_log.keys import keyed_hash
from cds_service.alert_log.knowledge_archive import pack_knowledge
from cds_service.alert_log.prior import TIME_LIMIT
from cds_service.alert_log.sealing import SealingKey, sealing_key
from cds_service.alert_log.store import Archive
from cds_service.clock import Clock, utc_now
from cds_service.evaluate import Engine
from cds_service.files.paths import cards_dir
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.outbound.http_client import HttpClient
from cds_service.present.cards import Presenter
from cds_service.settings import OPTIONS, Settings, SettingsError
from cds_service.shipping import Shipper, new_prior_source, new_shipper
from cds_service.telemetry.traces import Traces, open_traces
from cds_service.trust.caller import Callers
from cds_service.trust.callers import new_callers

_SECRETS = {option.name for option in OPTIONS if option.secret}  # the keys of the hashes count, by a keyed hash
_OF_THIS_MACHINE = _SECRETS | {
    *("log_path", "review_path", "clients_file", "approvals_file", "rxnorm_file", "cards_dir", "overlay_dir"),
    "management_address",
}
LOG_GRACE = 3.0  # seconds that a process which ends tries to write the last records


class Runtime(msgspec.Struct, frozen=True):
    """The lasting parts of one process.

    `new_runtime` makes them before there is an event loop; the application opens and closes them.
    """

    settings: Settings
    callers: Callers
    knowledge: Knowledge
    presenter: Presenter
    alert_log: AlertLog
    http: HttpClient
    hash_secret: bytes
    old_hash_secret: bytes = b""  # the one before, while the log has records of it
    sealing: SealingKey | None = None  # where comments and ids are kept to be revealed
    traces: Traces | None = None
    shipper: Shipper | None = None  # where the log goes to PostgreSQL, too
    clock: Clock = utc_now  # the time of every call; tests pass another one

    @property
    def engine(self) -> Engine:
        """Return the cards and limits with which requests are evaluated."""
        return Engine.of(self.settings, self.knowledge, self.presenter)

    @property
    def configuration(self) -> str:
        """Return 16 hex digits that differ where settings, keys, cards, overlay, approvals or registry differ.

        Paths and addresses of this machine are left out, so that machines of one service have the same.
        """
        settings = self.settings.model_dump_json(exclude=_OF_THIS_MACHINE)
        keys = [keyed_hash(secret, "check", "alert log", generation) for generation, secret in self.hash_secrets.items()]
        live = [(card.id, card.live) for card in self.knowledge.cards]  # what is approved
        parts = repr((settings, keys, self.knowledge.hash, live, self.callers.registry_hash))
        return blake2b(parts.encode(), digest_size=8).hexdigest()

    @property
    def hash_secrets(self) -> dict[int, bytes]:
        """Return the secrets of the log's hashes by generation: the present one, and the one before where it is still used."""
        generation = self.settings.hash_generation
        return {generation: self.hash_secret} | ({generation - 1: self.old_hash_secret} if self.old_hash_secret else {})

    def __repr__(self) -> str:
        return "Runtime(…)"


def new_alert_log(
    settings: Settings, knowledge: Knowledge, *, clock: Clock = utc_now, patience: float = 1.0, prior_limit: float = TIME_LIMIT
) -> AlertLog:
    """Return the log of one process. A fork needs one of its own: a thread that is made before it never runs in it.

    `clock` dates the knowledge; `patience` and `prior_limit`: see `AlertLog`.
    """
    # The files of the knowledge are read and packed only where the log does not have this version.
    pack = partial(pack_knowledge, settings.cards_dir or cards_dir(), settings.overlay_dir)
    return AlertLog(
        settings.log_path,
        grace=LOG_GRACE,
        patience=patience,
        prior_limit=prior_limit,
        elsewhere=new_prior_source(settings.log_database_url),
        archive=Archive(knowledge.hash, pack, clock),
    )


def key_problem(settings: Settings) -> str:
    """Return what is wrong with the keys of the log together, "" for nothing."""
    if settings.hash_secret_old and (settings.hash_generation < 2 or not settings.hash_secret):
        return "CDS_HASH_SECRET_OLD needs CDS_HASH_SECRET and a CDS_HASH_GENERATION of 2 or more: `cds-service log rotate-key`"
    if settings.keep_inputs and not settings.reveal_key:
        return "CDS_KEEP_INPUTS needs CDS_REVEAL_KEY, with which what is kept is sealed"
    if settings.hash_secret and settings.hash_secret in (settings.hash_secret_old, settings.reveal_key):
        return "CDS_HASH_SECRET must be another key than CDS_HASH_SECRET_OLD and CDS_REVEAL_KEY"
    return ""


def new_runtime(settings: Settings, own_address: str = "") -> Runtime:
    """Load the cards and prepare the other parts, opening only the key file of the log's hashes.

    `own_address`: where the cards link to their pages when no public URL is set; "" for no such links.
    Raises SettingsError (a setting that production requires, mistakes in the registry of clients, traces without their packages),
    KnowledgeError (mistakes in cards, overlay or approvals), OSError and ValueError (the key file).
    """
    if problem := key_problem(settings):
        raise SettingsError(problem)
    callers = new_callers(settings)
    knowledge = load_knowledge(settings)
    presenter = Presenter(knowledge, settings.public_url or own_address)
    for dialect in sorted(callers.dialects - presenter.dialects):
        raise SettingsError(f"no dialect `{dialect}` in the cards, which a client's preset asks for")
    return Runtime(
        settings=settings,
        callers=callers,
        knowledge=knowledge,
        presenter=presenter,
        alert_log=new_alert_log(settings, knowledge),
        http=HttpClient(),
        traces=open_traces(settings.otlp_endpoint),
        shipper=new_shipper(settings.log_path, settings.log_database_url),
        hash_secret=settings.hash_secret.encode() or load_or_create_secret(settings.log_path.with_name("hash.key")),
        old_hash_secret=settings.hash_secret_old.encode(),
        sealing=sealing_key(settings.reveal_key, settings.reveal_key_id),
    )
