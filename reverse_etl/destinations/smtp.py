"""E-mail through an SMTP server: one message per contact.

Contract: RFC 5321 (4yz may succeed later, 5yz never will), RFC 8058 (one-click opt-out). Servers do
not recognise a repeated message: when the connection breaks after the text was sent the outcome is
unknown, and the mail is never repeated by itself.

base_url: ``smtp://host:port`` (this machine only), ``smtp+starttls://`` or ``smtps://``.
Options: ``sender_email``, ``sender_name`` and ``postal_address`` (one text, or one per language),
``reply_to``, ``unsubscribe_url``. Credentials: ``unsubscribe_key``; ``username`` and ``password``
where the server asks for them.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

from reverse_etl import unsubscribe
from reverse_etl.configuration import DestinationConfig, is_loopback
from reverse_etl.destinations.base import Action, Destination, ExternalIds, Limits, Outcome
from reverse_etl.errors import Denied, NotSent, Unreachable, UserError
from reverse_etl.mail import Letters, Sender, Undeliverable
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class Smtp(Destination):
    """One mail server and one sender. One message a batch, so that a crash leaves at most one
    outcome open. Option ``mails_per_second`` (default 20)."""

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {"trigger": frozenset({"add"})}

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._connection: smtplib.SMTP | None = None

    def limits(self, kind: Kind) -> Limits:
        """Servers publish no limits: the pace is an option."""
        pace = Window(int(self.config.option("mails_per_second", 20)), 1.0)
        return Limits(windows=(pace,), timeout=60.0)

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As an inbox counts: all mails, and by sync."""
        by_sync = {sync.id: sum(groups.values()) for sync, groups in counts.items()}
        return {"mails": sum(by_sync.values()), "by_sync": by_sync}

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Address, sender, key and templates; does not connect."""
        _ = self._server, self._opt_out_key, self.budget
        missing = []
        for sync in syncs:
            try:
                self._letters.language(_template(sync), None)
            except Undeliverable as error:
                missing.append(f"{sync.file}: meta.sync.template: {error}")
            absent = [c for c in ("event_id", "contact_id", "email") if c not in sync.columns]
            if absent:
                missing.append(f"{sync.file}: a mail needs the column {', '.join(absent)}.")
        return missing

    def verify(self, syncs: Sequence[Sync]) -> list[str]:
        """Also says hello to the server, with the login."""
        missing = self.check(syncs)
        self._connected()
        return missing

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        return [self._deliver(sync, change) for change in batch]

    def close(self) -> None:
        """Say goodbye to the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.quit()
            except (smtplib.SMTPException, OSError):
                connection.close()

    @property
    def sender_domain(self) -> str:
        """The domain of the address that mails come from."""
        return self._letters_sender.domain.lower()

    def letter(self, sync: Sync, row: Mapping[str, Any]) -> EmailMessage:
        """The mail that a row becomes. Raises Undeliverable."""
        link = unsubscribe.link(self._opt_out_url, str(row["contact_id"]), self._opt_out_key)
        return self._letters.compose(
            _template(sync), row, sync=sync.id, opt_out=link, now=datetime.now(UTC)
        )

    def post(self, key: str, recipient: str, message: EmailMessage) -> Outcome:
        """Hand one mail to the server. Raises NotSent, Unreachable or Denied before it left."""
        return self._posted(key, recipient, message.as_bytes())

    def _deliver(self, sync: Sync, change: Change) -> Outcome:
        try:
            content = self.letter(sync, change.payload).as_bytes()
        except Undeliverable as error:
            return Outcome(change.key, "rejected", "template", str(error))
        return self._posted(change.key, str(change.payload["email"]), content)

    def _posted(self, key: str, recipient: str, content: bytes) -> Outcome:
        with self.budget.call():
            connection = self._connected()
            try:
                for step in (
                    lambda: connection.mail(self._letters_sender.email),
                    lambda: connection.rcpt(recipient),
                ):
                    code, words = _asked(step)
                    if code >= 400:
                        connection.rset()
                        return _refusal(key, code, words)
            except (smtplib.SMTPServerDisconnected, OSError):
                self.close()
                raise NotSent("The mail server hung up before the mail.", code="reset") from None
            return self._hand_over(connection, key, content)

    def _hand_over(self, connection: smtplib.SMTP, key: str, content: bytes) -> Outcome:
        try:
            code, words = connection.data(content)
        except smtplib.SMTPDataError as error:
            return _refusal(key, error.smtp_code, _text(error.smtp_error))
        except (smtplib.SMTPException, OSError):
            self.close()
            message = "The connection broke while the mail was handed over."
            return Outcome(key, "unknown", "reset", message)
        if code >= 400:
            return _refusal(key, code, _text(words))
        return Outcome(key, "delivered", str(code))

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except smtplib.SMTPAuthenticationError as error:
                raise Denied(_text(error.smtp_error), code=str(error.smtp_code)) from None
            except ssl.SSLError:
                raise Denied("The mail server's certificate is not valid.", code="tls") from None
            except (smtplib.SMTPException, OSError) as error:
                words = f"No connection to the mail server ({type(error).__name__})."
                raise Unreachable(words, code="connect") from None
        return self._connection

    def _connect(self) -> smtplib.SMTP:
        scheme, host, port = self._server
        timeout = self.limits("trigger").timeout
        if scheme == "smtps":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            connection = smtplib.SMTP(host, port, timeout=timeout)
            if scheme == "smtp+starttls":
                connection.starttls(context=ssl.create_default_context())
        connection.ehlo_or_helo_if_needed()
        if "username" in self.config.credentials:
            connection.login(self.config.credential("username"), self.config.credential("password"))
        return connection

    @cached_property
    def _server(self) -> tuple[str, str, int]:
        url = self.config.base_url
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            known = ", ".join(f"{scheme}://" for scheme in _PORTS)
            raise UserError(f"{self.config.origin}.base_url must start with one of {known}.")
        if parts.scheme == "smtp" and not is_loopback(url):
            raise UserError(
                f"{self.config.origin}.base_url would send mails and password in the clear. "
                "Use smtp+starttls:// or smtps://."
            )
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]

    @cached_property
    def _letters(self) -> Letters:
        return Letters(self._letters_sender)

    @cached_property
    def _letters_sender(self) -> Sender:
        return Sender(
            email=self._needed("sender_email"),
            names=self._by_language("sender_name"),
            postal_addresses=self._by_language("postal_address"),
            reply_to=self.config.option("reply_to"),
        )

    @property
    def _opt_out_url(self) -> str:
        return self._needed("unsubscribe_url")

    @cached_property
    def _opt_out_key(self) -> str:
        _ = self._opt_out_url, self._letters
        return self.config.credential("unsubscribe_key")

    def _needed(self, option: str) -> str:
        value = self.config.option(option)
        if not isinstance(value, str) or not value:
            raise UserError(f"{self.config.origin}.options.{option} is missing.")
        return value

    def _by_language(self, option: str) -> Mapping[str, str]:
        value = self.config.option(option)
        texts = {"en": value} if isinstance(value, str) else dict(value or {})
        if not texts.get("en"):
            raise UserError(
                f"{self.config.origin}.options.{option} is missing: write a text, or one per "
                "language with en among them."
            )
        return texts


def _template(sync: Sync) -> str:
    return sync.spec.template or sync.model.removeprefix("trg_")


def _asked(step: Callable[[], tuple[int, bytes]]) -> tuple[int, str]:
    code, words = step()
    return code, _text(words)


def _refusal(key: str, code: int, words: str) -> Outcome:
    return Outcome(key, "retryable" if code < 500 else "rejected", str(code), words)


def _text(words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return " ".join(text.split())[:400]
