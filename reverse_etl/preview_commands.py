"""The commands ``preview`` and ``test-send``: a trigger's mail before anybody gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reverse_etl import display
from reverse_etl.errors import UserError
from reverse_etl.preview import Previewer
from reverse_etl.settings import Settings

Trigger = Annotated[str, typer.Argument(help="Name of a trigger that mails, without trg_.")]
Contact = Annotated[str, typer.Argument(help="A contact's e-mail address or id.")]
Language = Annotated[str | None, typer.Option(help="Write it in this language instead.")]


def preview(
    trigger: Trigger,
    contact: Contact,
    language: Language = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the HTML to this file, to open in a browser.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Show the mail a contact would get from a trigger. Sends nothing."""
    shown = Previewer(Settings.from_environment()).preview(trigger, contact, language)
    if html is not None:
        try:
            html.write_text(shown.html, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--html {html} cannot be written: {error.strerror}.") from None
    headers = {n: str(shown.message[n]) for n in ("From", "To", "Subject", "Content-Language")}
    if as_json:
        return display.print_json(
            {"sync": shown.sync.id, "is_real": shown.is_real, **headers, "text": shown.text}
        )
    told = "" if shown.is_real else "No episode of this contact: values in [brackets] are examples."
    lines = [told, *(f"{name}: {value}" for name, value in headers.items()), "", shown.text]
    return display.print_lines(lines if told else lines[1:])


def send_test(
    trigger: Trigger,
    contact: Contact,
    to: Annotated[str, typer.Option(help="An address at the sender's own domain.")],
    language: Language = None,
) -> None:
    """Send the mail a contact would get to a colleague instead."""
    outcome = Previewer(Settings.from_environment()).send(trigger, contact, to, language)
    if outcome.status != "delivered":
        raise UserError(f"The mail server did not take it: {outcome.code} {outcome.message}")
    display.print_lines([f"Sent to {to}."])


def register(app: typer.Typer) -> None:
    """Add both to the command line."""
    app.command()(preview)
    app.command("test-send")(send_test)
