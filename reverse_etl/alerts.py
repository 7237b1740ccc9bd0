"""Telling a team that something is wrong, and that it is right again, through its own tools.

Who is told stands in destinations.yml under ``alerts``, by target. Nobody there: nothing is sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from reverse_etl.configuration import AlertRoute, load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination, Outcome, understood
from reverse_etl.destinations.smtp import Smtp
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Change
from reverse_etl.settings import Settings
from reverse_etl.spec import Sync, SyncSpec


@dataclass(frozen=True)
class Alert:
    """One change of state. ``key`` is the same whenever this very change is told: a tool that
    knows repeats drops them. The words hold no payload."""

    key: str
    state: Literal["open", "over", "news"]
    title: str
    text: str = ""

    @property
    def subject(self) -> str:
        """One line that says whether it is about something wrong."""
        told = {"open": "", "over": "Over: ", "news": ""}
        return f"{told[self.state]}{self.title}"


class Messenger:
    """Sends to everybody who is to be told. Raises UserError where destinations.yml is wrong."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._routes = load_configuration(settings).alerts

    @property
    def is_configured(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self._routes)

    def send(self, alert: Alert) -> list[str]:
        """Tell everybody; in words, whom it did not reach. One tool out of order stops no other."""
        troubles = []
        ledger = Ledger(self._settings.ledger_url)
        try:
            for route in self._routes:
                destination = implementation(route.config.type)(route.config, ledger)
                try:
                    with understood():
                        outcomes = _sent(destination, route, alert)
                    troubles += [
                        f"{route.config.name}: {one.message or one.status}"
                        for one in outcomes
                        if one.status != "delivered"
                    ]
                except (DestinationFault, UserError) as fault:
                    troubles.append(f"{route.config.name}: {fault}")
                finally:
                    destination.close()
        finally:
            ledger.close()
        return troubles


def _sent(destination: Destination, route: AlertRoute, alert: Alert) -> list[Outcome]:
    if isinstance(destination, Smtp):
        return [
            destination.post(f"{alert.key} {to}", to, _mail(route, alert, to)) for to in route.to
        ]
    spec = SyncSpec(kind="trigger", key="event_id", channel="alerts", event="alert")
    sync = Sync("alert", "", "", "destinations.yml", (), spec, route.config)
    row = {"event_id": alert.key, "title": alert.subject, "text": alert.text, "state": alert.state}
    return destination.send(sync, [Change(alert.key, "add", "", row)])


def _mail(route: AlertRoute, alert: Alert, to: str) -> EmailMessage:
    sender = str(route.config.option("sender_email"))
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = sender, to
    message["Subject"] = " ".join(alert.subject.split())
    message["Date"] = format_datetime(datetime.now(UTC))
    identity = hashlib.sha256(f"{alert.key}\n{to}".encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{identity}@{sender.rpartition('@')[2]}>"
    # nobody's vacation answers it
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{alert.text or alert.subject}\n")
    return message
