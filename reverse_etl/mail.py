"""Mails from templates: ``templates/<template>.<language>.j2`` with blocks subject, text and html.

Each extends its language's layout, which adds the footer: sender, postal address, why the reader
gets this, and the opt-out link. English stands in for languages without a template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
)

from reverse_etl.errors import ReverseEtlError
from reverse_etl.values import as_text

TEMPLATES = Path(__file__).parent / "templates"
FALLBACK = "en"


class Undeliverable(ReverseEtlError):  # noqa: N818 - as in errors
    """A row cannot become a mail: a missing template, variable or a malformed address."""


@dataclass(frozen=True)
class Sender:
    """Who writes. Names and postal addresses are by language, ``en`` at least."""

    email: str
    names: Mapping[str, str]
    postal_addresses: Mapping[str, str]
    reply_to: str | None = None

    @property
    def domain(self) -> str:
        """The part of the address that Message-IDs end with."""
        return self.email.rpartition("@")[2]


class Letters:
    """Renders and composes. ``folder`` holds the templates."""

    def __init__(self, sender: Sender, folder: Path = TEMPLATES) -> None:
        self._sender = sender
        loader = FileSystemLoader(folder)
        # The same file twice: values are escaped in html, and stand as they are in plain text.
        self._plain = Environment(loader=loader, undefined=StrictUndefined)  # noqa: S701
        self._html = Environment(loader=loader, undefined=StrictUndefined, autoescape=True)
        self._templates = frozenset(loader.list_templates())

    def language(self, template: str, wanted: str | None) -> str:
        """The language a mail is written in: the wanted one, its main part, or English."""
        tag = (wanted or FALLBACK).replace("_", "-").lower()
        for language in (tag, tag.partition("-")[0], FALLBACK):
            if f"{template}.{language}.j2" in self._templates:
                return language
        raise Undeliverable(
            f"There is no template {template}.{FALLBACK}.j2 in reverse_etl/templates."
        )

    def compose(
        self,
        template: str,
        row: Mapping[str, Any],
        *,
        sync: str,
        opt_out: str,
        now: datetime,
    ) -> EmailMessage:
        """One row's mail. Its Message-ID follows from the event_id. Raises Undeliverable."""
        language = self.language(template, row.get("language"))
        values = dict(row) | {
            "sender_name": self._in(language, self._sender.names),
            "postal_address": self._in(language, self._sender.postal_addresses),
            "opt_out": opt_out,
        }
        file = f"{template}.{language}.j2"
        subject = self._render(self._plain, file, values, "subject")
        text = self._render(self._plain, file, values, "text")
        html = self._render(self._html, file, values, "html")
        message = EmailMessage(policy=SMTP)
        message["From"] = _address(self._sender.email, values["sender_name"])
        message["To"] = _address(as_text(row.get("email")), as_text(row.get("contact_name")))
        message["Subject"] = _one_line(subject)
        message["Date"] = format_datetime(now)
        identity = hashlib.sha256(f"{sync}\n{row['event_id']}".encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{identity}@{self._sender.domain}>"
        if self._sender.reply_to:
            message["Reply-To"] = self._sender.reply_to
        message["X-Sync"] = sync
        message["List-Unsubscribe"] = f"<{opt_out}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(text, cte="quoted-printable" if text.isascii() else "base64")
        message.add_alternative(html, subtype="html", cte="base64")
        message["Content-Language"] = language  # last: setting a body moves headers on content
        return message

    def _render(
        self, environment: Environment, file: str, values: Mapping[str, Any], part: str
    ) -> str:
        try:
            template: Template = environment.get_template(file)
            return template.render(values, part=part).strip() + "\n"
        except TemplateNotFound as error:
            raise Undeliverable(f"{file}: the template {error.name} does not exist.") from None
        except TemplateError as error:
            raise Undeliverable(f"{file}: {error.message}.") from None

    @staticmethod
    def _in(language: str, texts: Mapping[str, str]) -> str:
        return texts.get(language) or texts[FALLBACK]


def _address(email: str, name: str) -> Address:
    """An address for a header. Raises Undeliverable for what could break out of one."""
    try:
        return Address(_one_line(name), addr_spec=email)
    except (ValueError, IndexError, AttributeError):
        raise Undeliverable("The e-mail address is not well formed.") from None
    except Exception as error:
        # The standard library's parser tells defects by an exception tree of its own.
        raise Undeliverable(f"The e-mail address is not usable ({type(error).__name__}).") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())
