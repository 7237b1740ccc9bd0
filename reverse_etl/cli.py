"""``reverse-etl``: plan, apply, status, sandbox.

Exit codes: 0 done, 1 some rows were rejected, are unknown or could not be sent, 2 a mistake
somebody can fix, 3 held until a person decides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from reverse_etl.background import SandboxProcess
from reverse_etl.engine import Engine, SyncResult
from reverse_etl.errors import UserError
from reverse_etl.push import Progress
from reverse_etl.settings import Settings
from reverse_etl.status import read_status

DONE, INCOMPLETE, MISTAKE, HELD = 0, 1, 2, 3

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Select = Annotated[
    list[str] | None,
    typer.Option("--select", "-s", help="Sync, model or destination; * matches any part."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def main() -> None:
    """Entry point: a mistake is told in words, never as a traceback."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"Error: {error}", style="red", markup=False
        )
        sys.exit(MISTAKE)


@app.command()
def plan(select: Select = None, as_json: AsJson = False) -> None:
    """Show what each sync would change now. Sends nothing."""
    plans = [plan.as_dict() for plan in Engine(Settings.from_environment()).plan(select)]
    if as_json:
        return _print_json(plans)
    columns = ("sync", "kind", "adds", "changes", "removes", "unchanged", "held", "reason")
    return _print_table("Plan", columns, plans)


@app.command()
def apply(select: Select = None, as_json: AsJson = False) -> None:
    """Send what the plan says. Held syncs are left alone."""
    engine = Engine(Settings.from_environment())
    with _progress() as show:
        results = engine.apply(select, show)
    lines = [result.as_dict() for result in results]
    if as_json:
        _print_json(lines)
    else:
        columns = ("sync", "planned", "delivered", "rejected", "retryable", "unknown", "seen")
        _print_table("Applied", (*columns, "held", "reason", "error"), lines)
    raise typer.Exit(_exit_code(results))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what the ledger remembers of every sync and destination."""
    known = read_status(Settings.from_environment())
    if as_json:
        return _print_json(known)
    columns = ("sync", "acknowledged", "seen", "unknown", "delivered", "rejected", "dead_letters")
    return _print_table("Ledger", (*columns, "last_run_at"), known["syncs"])


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(envvar="SANDBOX_PORT")] = 0,
    smtp_port: Annotated[int, typer.Option(envvar="SANDBOX_SMTP_PORT")] = 0,
    detach: Annotated[bool, typer.Option(help="Start it in the background.")] = False,
    stop: Annotated[bool, typer.Option(help="Stop the one in the background.")] = False,
) -> None:
    """Run the tools' stand-in on this machine, with a page that shows what they received."""
    settings = Settings.from_environment()
    process = SandboxProcess(
        settings.project_root / "data",
        port or _port(settings, "SANDBOX_PORT", 8725),
        smtp_port or _port(settings, "SANDBOX_SMTP_PORT", 8726),
    )
    if stop:
        typer.echo("The sandbox is stopped." if process.stop() else "No sandbox was running.")
    elif detach:
        started = process.start()
        typer.echo(f"The sandbox {'runs' if started else 'was already running'} at {process.url}")
    else:
        _serve(process)


def _serve(process: SandboxProcess) -> None:
    from reverse_etl.sandbox.server import Sandbox, SandboxError

    server = Sandbox(process.store, http_port=process.http_port, smtp_port=process.smtp_port)
    try:
        server.serve_forever(ready=lambda: typer.echo(f"The sandbox runs at {process.url}"))
    except SandboxError as error:
        raise UserError(str(error)) from None


def _port(settings: Settings, variable: str, default: int) -> int:
    text = settings.environment.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise UserError(f"{variable} is {text!r}, not a port. Set it to a number below 65536.")
    return int(text)


def _exit_code(results: list[SyncResult]) -> int:
    if not all(result.is_clean for result in results):
        return INCOMPLETE
    return HELD if any(result.held for result in results) else DONE


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_table(title: str, columns: tuple[str, ...], lines: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column == "sync")
    for line in lines:
        table.add_row(*(_cell(line[column]) for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Bars on a terminal, one JSON line per step elsewhere; always on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: Progress) -> None:
            if step.sync not in tasks:
                tasks[step.sync] = bars.add_task(step.sync, total=step.total)
            bars.update(tasks[step.sync], completed=step.done)

        yield show


def _log(step: Progress) -> None:
    line = {"sync": step.sync, "done": step.done, "total": step.total}
    sys.stderr.write(orjson.dumps(line).decode() + "\n")


if __name__ == "__main__":
    main()
