"""The commands for what comes back: ``pull`` and ``receive``."""

from __future__ import annotations

from typing import Annotated

import typer

from reverse_etl import display
from reverse_etl.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register both."""
    app.command()(pull)
    app.command()(receive)


def pull(
    destination: Annotated[
        str | None, typer.Argument(help="Only this one; all that the syncs use without it.")
    ] = None,
    since: Annotated[str, typer.Option(help="A day; else since the last pull.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Fetch opt-outs, bounces, complaints and clicks; tell every tool who opted out elsewhere."""
    from reverse_etl.pulling import Feedbacks
    from reverse_etl.receiver import instant_of

    start = instant_of(since) if since else None
    lines = [
        result.as_dict()
        for result in Feedbacks(Settings.from_environment()).pull(destination, start)
    ]
    if as_json:
        display.print_json(lines)
    else:
        display.print_table("Pulled", ("destination", "new", "stopped", "told", "error"), lines)
    if any(line["error"] for line in lines):
        raise typer.Exit(1)


def receive(
    host: Annotated[str, typer.Option(help="Stay on this machine, behind a proxy with TLS.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(envvar="RECEIVER_PORT", min=1, max=65_535)] = 8727,
) -> None:
    """Serve the mails' one-click opt-out and take the tools' signed webhooks."""
    from reverse_etl.receiver import serve

    serve(Settings.from_environment(), host, port)
