"""What one process holds for as long as it runs."""

from __future__ import annotations

import httpx
import msgspec

from cds_service.alert_log import AlertLog, load_or_create_secret
from cds_service.ehr import new_http_client
from cds_service.knowledge import Knowledge
from cds_service.present import Presenter
from cds_service.settings import Settings, SettingsError
from cds_service.site import load_knowledge
from cds_service.trust import Caller, anonymous
from cds_service.yamlfile import suggestion


class Runtime(msgspec.Struct, frozen=True):
    """Made once by `new_runtime`, before there is an event loop; opened and closed by the application."""

    settings: Settings
    caller: Caller
    knowledge: Knowledge
    presenter: Presenter
    alert_log: AlertLog
    http: httpx.AsyncClient
    hash_secret: bytes


def new_runtime(settings: Settings) -> Runtime:
    """Load the cards and prepare everything else; nothing is opened yet but the key of the log's hashes.

    Raises SettingsError (production, a caller's unknown dialect), KnowledgeError (mistakes in cards, overlay or approvals),
    OSError and ValueError (the key file).
    """
    caller = anonymous(settings)
    knowledge = load_knowledge(settings)
    presenter = Presenter(knowledge)
    if caller.dialect not in presenter.dialects:
        raise SettingsError(f"{caller.client}: unknown dialect{suggestion(caller.dialect, presenter.dialects)}")
    return Runtime(
        settings=settings,
        caller=caller,
        knowledge=knowledge,
        presenter=presenter,
        alert_log=AlertLog(settings.log_path),
        http=new_http_client(),
        hash_secret=settings.hash_secret.encode() or load_or_create_secret(settings.log_path.with_name("hash.key")),
    )
