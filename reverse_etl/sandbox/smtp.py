"""An SMTP inbox: accepts mail as a submission server does and keeps it.

Faults (vendor `smtp`) meet a mail at its DATA: status (a 4yz or 5yz reply), reset_before and
reset_after.

RFC 5321 replies; SIZE (RFC 1870) is advertised, AUTH (RFC 4954) is offered and optional.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import orjson
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from reverse_etl.sandbox.faults import Connections, Faults
from reverse_etl.sandbox.store import Store, instant


class Inbox:
    """Stores every message whole and parsed, and refuses recipients as portal.yml says."""

    def __init__(
        self,
        store: Store,
        portal: Mapping[str, Any],
        clock: Callable[[], float],
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults(Connections())
        # aiosmtpd warns on every login about its own attribute.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self._store = store
        self._clock = clock
        self._login = str(portal.get("login", "sandbox"))
        self._password = str(portal.get("password", "sandbox"))
        self._max_bytes = int(portal.get("max_bytes", 10_000_000))
        self._refusals: dict[str, str] = portal.get("refusals", {})

    def session(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        """The protocol of one client connection."""
        return SMTP(
            self,
            data_size_limit=self._max_bytes,
            enable_SMTPUTF8=True,
            ident="sandbox inbox",
            hostname="sandbox.example",
            authenticator=self._authenticate,
            # Loopback only, so a login over plain text leaks nothing.
            auth_require_tls=False,
            loop=loop,
        )

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        accepted = isinstance(data, LoginPassword) and all(
            hmac.compare_digest(given, wanted.encode())
            for given, wanted in ((data.login, self._login), (data.password, self._password))
        )
        return AuthResult(success=accepted, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        domain = address.rpartition("@")[2].lower()
        if domain in self._refusals:
            return self._refusals[domain]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if fault := self._faults.take("smtp", "DATA"):
            if fault.kind == "reset_before":
                _hang_up(server)
            if fault.kind in ("reset_before", "status"):
                return f"{int(fault.value or 451)} 4.3.0 A fault armed in the sandbox"
        raw = cast(bytes, envelope.content)
        message = message_from_bytes(raw, policy=policy.default)
        headers = [[name, _header(message, name, value)] for name, value in message.raw_items()]
        with self._store.transaction() as db:
            kept = db.execute(
                "insert into mails(sender, recipients, subject, from_, to_, message_id, language,"
                " sync, text, html, headers, raw, received_at)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    envelope.mail_from or "",
                    orjson.dumps(envelope.rcpt_tos).decode(),
                    _header(message, "Subject"),
                    _header(message, "From"),
                    _header(message, "To"),
                    _header(message, "Message-ID"),
                    _header(message, "Content-Language") or None,
                    _header(message, "X-Sync") or None,
                    _part(message, "plain"),
                    _part(message, "html"),
                    orjson.dumps(headers).decode(),
                    raw,
                    instant(self._clock()),
                ),
            )
        if fault and fault.kind == "reset_after":
            _hang_up(server)
        return f"250 2.0.0 OK: kept as {kept.lastrowid}"

    def counts(self) -> dict[str, Any]:
        """Mails kept, by sync (header X-Sync) and by language (header Content-Language)."""
        by = "select {0}, count(*) from mails where {0} is not null group by 1 order by 1"
        return {
            "mails": self._store.number("select count(*) from mails"),
            "by_sync": self._store.tally(by.format("sync")),
            "by_language": self._store.tally(by.format("language")),
        }


def _hang_up(server: SMTP) -> None:
    cast(asyncio.Transport, server.transport).abort()


def _header(message: EmailMessage, name: str, raw: str = "") -> str:
    """A header, decoded; as it stands where it cannot be parsed."""
    try:
        value = str(message.get(name, "")) if not raw else _decoded(name, raw)
    except Exception:
        # The standard library's header parser fails in many ways on broken mail.
        value = raw
    # Undecodable bytes arrive as surrogates, which neither SQLite nor JSON takes.
    return value.encode("utf-8", "replace").decode()


def _decoded(name: str, raw: str) -> str:
    return str(policy.default.header_fetch_parse(name, raw))


def _part(message: EmailMessage, kind: str) -> str | None:
    """The first body of this kind, decoded."""
    try:
        body = message.get_body((kind,))
        if body is None:
            return None
        return str(body.get_content()).encode("utf-8", "replace").decode()
    except Exception:
        # An unknown charset, a missing part, a broken encoding: the raw mail is kept anyway.
        return None
