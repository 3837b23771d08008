"""Tell who sends a request: by session, by the header of a trusted proxy, or in dev without accounts by the typed name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from cds_service.access import accounts, identities, local_sign_in, sessions
from cds_service.access.access_file import AccessFile, Proxy, load_access_file
from cds_service.access.accounts import Account
from cds_service.access.audit import AuditLog
from cds_service.access.identities import IdentityError
from cds_service.access.local_sign_in import SignInError
from cds_service.access.reader import Reader, usable_name
from cds_service.alert_log.instants import micros
from cds_service.clock import Clock
from cds_service.database import DatabasePool, DatabaseUnavailableError
from cds_service.settings import Settings

if TYPE_CHECKING:
    from cds_service.access.oidc import ProviderSignIn

OIDC, PROXY = "oidc", "proxy"


class Gate:
    """The only door of the review pages."""

    def __init__(self, settings: Settings, clock: Clock, pool: DatabasePool, audit_log: AuditLog, base: str) -> None:
        """`pool`: of connections that write the review database; `base`: path of the pages. Raises SettingsError."""
        dev = settings.profile == "dev"
        self.rules: AccessFile = load_access_file(settings.access_file, dev=dev)
        self.tls = settings.review_url.startswith("https://")
        self.provider: ProviderSignIn | None = None
        if self.rules.oidc is not None:
            from cds_service.access.oidc import ProviderSignIn  # a dev process without a provider starts without its libraries

            self.provider = ProviderSignIn(self.rules.oidc, f"{settings.review_url}{base}/sign-in/callback", clock)
        self._clock = clock
        self._pool = pool
        self._audit_log = audit_log
        self._may_be_typed = dev and settings.access_file is None

    def reader(self, headers: Headers, session: str, peer: str, typed: Reader) -> Reader | None:
        """Return who sends a request, None for somebody who has not signed in.

        `session`: value of the cookie, "" for none; `peer`: address from which it came; `typed`:
        who that is in dev without accounts. Raises DatabaseError.
        """
        if self._typed():
            return typed
        if session and (found := self._of_session(session)) is not None:
            return found
        proxy = self.rules.proxy
        return self._of_proxy(headers, proxy) if proxy is not None and proxy.sends(peer) else None

    def sign_in(self, name: str, password: str, code: str) -> str:
        """Begin the session of a local account and return the value of its cookie. Raises SignInError, AuditError."""
        account: Account | None
        with self._pool.borrow() as database:
            try:
                account = local_sign_in.sign_in(database, name, password, code, at=self._now())
            except SignInError:
                account = accounts.find_account(database, name)  # a name of no account may be a password in the wrong field
                self._audit_log.append(account.name if account else "", "sign in refused", accounts.SOURCE)
                raise
        return self._begin(account.name, accounts.SOURCE, account.name, ())

    def sign_in_from_provider(self, name: str, subject: str, groups: tuple[str, ...]) -> str:
        """Begin the session of somebody whom the identity provider knows; otherwise like `sign_in`."""
        return self._begin(name, OIDC, subject, groups)

    def sign_out(self, reader: Reader, session: str) -> None:
        """End a session. Raises AuditError."""
        self._audit_log.append(reader.name, "sign out", "")
        with self._pool.borrow() as database:
            sessions.end(database, session)

    def _begin(self, name: str, source: str, subject: str, groups: tuple[str, ...]) -> str:
        try:
            name = usable_name(name)
            with self._pool.borrow() as database:
                name = identities.claim(database, name, source, subject)
        except ValueError as error:
            raise SignInError(str(error)) from None
        self._audit_log.append(name, "sign in", source)
        with self._pool.borrow() as database:
            return sessions.begin(database, name, source, groups, at=self._now())

    def _typed(self) -> bool:
        """Return whether this is a dev process without accounts; once there is one, it never is again."""
        if self._may_be_typed:
            try:
                with self._pool.borrow() as database:
                    self._may_be_typed = not accounts.accounts(database)
            except DatabaseUnavailableError:
                return True  # there is no log, and nothing to see
        return self._may_be_typed

    def _of_session(self, session: str) -> Reader | None:
        with self._pool.borrow() as database:
            found = sessions.find(database, session, at=self._now())
            if found is None:
                return None
            if found.source != accounts.SOURCE:
                return self.rules.reader(found.name, found.groups) if self.rules.oidc is not None else None
            account = accounts.find_account(database, found.name)
        return account.reader if account is not None and not account.disabled else None

    def _of_proxy(self, headers: Headers, proxy: Proxy) -> Reader | None:
        users, groups = headers.getlist(proxy.user_header), headers.getlist(proxy.groups_header)
        if len(users) > 1 or len(groups) > 1:  # that of the browser beside that of the proxy, and which is which is not told
            raise SignInError("The proxy passes on headers of browsers that name a person; it has to remove them")
        try:
            name = usable_name(users[0] if users else "")
        except ValueError:
            return None
        try:
            with self._pool.borrow() as database:
                name = identities.claim(database, name, PROXY, identities.folded(name))
        except IdentityError as error:
            raise SignInError(str(error)) from None
        return self.rules.reader(name, [one.strip() for one in "".join(groups).split(proxy.separator)])

    def _now(self) -> int:
        return micros(self._clock())
