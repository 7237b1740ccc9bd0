"""A trigger's mail to one contact, to look at or to try out before the trigger is live.

The row is the contact's own latest episode where there is one. Else it is what is known of the
contact, with example values for the rest: text in [brackets]. The opt-out link opts out nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import duckdb

from reverse_etl.configuration import load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Outcome
from reverse_etl.destinations.smtp import Smtp
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.mail import Undeliverable
from reverse_etl.rate import Budgets
from reverse_etl.registry import Registry
from reverse_etl.samples import scrubbed_words
from reverse_etl.settings import Settings
from reverse_etl.spec import Sync, load_syncs
from reverse_etl.warehouse import connected_to

NOBODY = "preview"
"""Whom the opt-out link of a preview names: no contact."""
MASK = "***"


@dataclass(frozen=True)
class Preview:
    """One mail, and whether its values are those of an episode of the contact."""

    sync: Sync
    message: EmailMessage
    is_real: bool

    @property
    def text(self) -> str:
        """The plain text."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The HTML."""
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""


class Previewer:
    """Reads the warehouse; ``send`` alone reaches the mail server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._syncs = load_syncs(settings.manifest_path, load_configuration(settings))

    def preview(self, trigger: str, who: str, language: str | None = None) -> Preview:
        """The mail of a trigger to a contact (id or address), their address masked. Raises
        UserError naming the trigger, the contact or the template's variable that is missing."""
        return self._composed(trigger, who, language, _masked)

    def send(self, trigger: str, who: str, to: str, language: str | None = None) -> Outcome:
        """Send that mail to ``to`` instead, which must be at the sender's own domain. The ledger
        does not know of it. Raises UserError before anything is sent, or when nothing could be."""
        sync = self._sync(trigger)
        ledger = Ledger(self._settings.ledger_url)
        tool = _tool(sync, ledger)
        tool.budgets = Budgets(ledger.accounts)
        try:
            recipient = _own_address(to, tool.sender_domain)
            preview = self._composed(trigger, who, language, lambda _: recipient)
            message = preview.message
            subject = str(message["Subject"])
            message.replace_header("Subject", f"[Test] {subject}")
            return tool.post(who, recipient, message)
        except DestinationFault as fault:
            words = scrubbed_words(str(fault))
            raise UserError(f"{sync.destination.origin}: nothing was sent: {words}") from None
        finally:
            tool.close()
            tool.budgets.close()
            ledger.close()

    def _composed(
        self, trigger: str, who: str, language: str | None, address: Callable[[str], str]
    ) -> Preview:
        sync = self._sync(trigger)
        with connected_to(self._settings.warehouse_path) as connection:
            row, is_real = _row(connection, sync, who)
        row |= {"language": language} if language else {}
        row |= {"contact_id": NOBODY, "event_id": f"preview-{uuid4().hex}"}
        row["email"] = address(str(row["email"]))
        ledger = Ledger(self._settings.ledger_url)
        try:
            return Preview(sync, _tool(sync, ledger).letter(sync, row), is_real)
        except Undeliverable as error:
            raise UserError(str(error)) from None
        finally:
            ledger.close()

    def _sync(self, trigger: str) -> Sync:
        name = f"trg_{trigger.removeprefix('trg_')}"
        triggers = [sync for sync in self._syncs if sync.spec.kind == "trigger"]
        mailed = [sync for sync in triggers if sync.destination.type == "smtp"]
        for sync in mailed:
            if sync.model == name:
                return sync
        for sync in triggers:
            if sync.model == name:
                raise UserError(
                    f"{name} goes through {sync.destination.name}, not by mail from here. See its "
                    f"rows with: reverse-etl plan -s {sync.id}"
                )
        known = ", ".join(sync.model.removeprefix("trg_") for sync in mailed) or "none"
        raise UserError(f"There is no trigger {trigger!r}. Those that mail: {known}.")


def _tool(sync: Sync, ledger: Ledger) -> Smtp:
    tool = implementation(sync.destination.type)(sync.destination, ledger)
    assert isinstance(tool, Smtp)
    return tool


def _row(
    connection: duckdb.DuckDBPyConnection, sync: Sync, who: str
) -> tuple[dict[str, Any], bool]:
    found = Registry(connection).find(who)
    if found is None:
        raise UserError(
            f"No contact is known by {who!r}: give a contact_id or an e-mail address, as "
            "marts.contacts has them."
        )
    listed = ", ".join("?" for _ in found.contact_ids)
    relation = f'"{sync.schema}"."{sync.relation}"'
    try:
        columns = connection.execute(f"describe {relation}").fetchall()
        own = _dictionaries(
            connection,
            f"select * from {relation} where contact_id in ({listed})"  # noqa: S608
            " order by occurred_at desc limit 1",
            list(found.contact_ids),
        )
        if own:
            return own[0], True
        [known] = _dictionaries(
            connection,
            "select contacts.email, contacts.full_name as contact_name, contacts.language,"
            " contacts.customer_id, customers.customer_name"
            " from marts.contacts left join marts.customers using (customer_id)"
            " where contacts.contact_id = ?",
            [found.contact_ids[0]],
        )
    except duckdb.CatalogException:
        raise UserError(
            f"{sync.file}: the warehouse has no {sync.schema}.{sync.relation} yet. Run `make demo` "
            "or `dbt build`."
        ) from None
    return {str(name): _example(str(name), str(kind)) for name, kind, *_ in columns} | known, False


def _dictionaries(
    connection: duckdb.DuckDBPyConnection, query: str, values: list[str]
) -> list[dict[str, Any]]:
    return list(connection.sql(query, params=values).to_arrow_table().to_pylist())


def _example(name: str, kind: str) -> Any:
    """A value that nobody takes for a fact, yet of the right type."""
    if name.endswith("_url"):
        return "https://vendor.example/example"
    match kind.partition("(")[0]:
        case "VARCHAR":
            return f"[{name.replace('_', ' ')}]"
        case "BOOLEAN":
            return True
        case "DATE":
            return "[YYYY-MM-DD]"
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return "[YYYY-MM-DD hh:mm]"
        case _:
            return 0


def _masked(email: str) -> str:
    return f"{MASK}@{email.rpartition('@')[2]}"


def _own_address(to: str, domain: str) -> str:
    """One plain address at the domain, or a UserError: nothing else may be tried out on."""
    try:
        address = Address(addr_spec=to)
        is_own = address.domain.lower() == domain and bool(address.username) and to.isascii()
    except (ValueError, IndexError, AttributeError, MessageError):
        is_own = False
    if not is_own or any(character.isspace() or not character.isprintable() for character in to):
        raise UserError(
            f"--to {to!r}: a test mail goes only to one address at {domain}, the domain of "
            "sender_email in destinations.yml."
        )
    return to
