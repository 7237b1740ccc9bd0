"""``reverse-etl``: plan, approve, apply, retry, and what became of it.

Exit codes: 0 done, 1 some rows were rejected, are unknown or could not be sent, 2 a mistake
somebody can fix, 3 held until a person decides.
"""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from reverse_etl import display, feedback_commands, preview_commands
from reverse_etl.audience import Audience, read_audience
from reverse_etl.background import SandboxProcess
from reverse_etl.doctor import examine
from reverse_etl.engine import Engine, SyncResult
from reverse_etl.errors import UserError
from reverse_etl.planner import Plan
from reverse_etl.settings import Settings
from reverse_etl.status import read_status
from reverse_etl.warehouse import connected_to

DONE, INCOMPLETE, MISTAKE, HELD = 0, 1, 2, 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=__doc__,
    pretty_exceptions_enable=False,  # they show the values of variables
)
Select = Annotated[
    list[str] | None,
    typer.Option("--select", "--sync", "-s", help="Sync, model or destination; * for any part."),
]
Keys = Annotated[
    list[str] | None, typer.Option("--key", "-k", help="Only this key: a contact, an event.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
preview_commands.register(app)


def main() -> None:
    """Entry point: a mistake is told in words, never as a traceback."""
    try:
        app()
    except UserError as error:
        display.print_error(str(error))
        sys.exit(MISTAKE)


@app.command()
def plan(select: Select = None, as_json: AsJson = False) -> None:
    """Show what each sync would change now, and some rows of it. Sends nothing."""
    plans = _engine().plan(select)
    lines = [plan.as_dict() for plan in plans]
    if as_json:
        return display.print_json(lines)
    columns = ("sync", "kind", "adds", "changes", "removes", "unchanged", "held", "reason", "plan")
    display.print_table("Plan", columns, lines)
    return display.print_lines([line for plan in plans for line in _previewed(plan)])


@app.command()
def apply(
    select: Select = None,
    plans: Annotated[
        list[str] | None, typer.Option("--plan", help="Exactly this plan, by its id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send what the plan says. Held syncs are left alone."""
    with display.progress() as show:
        results = _engine().apply(select, show, plans=plans)
    _show_results(results, as_json=as_json)


@app.command()
def approve(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="As `plan` shows it.")] = "",
    by: Annotated[str, typer.Option(help="Who agrees.")] = "",
    lost_ledger: Annotated[
        bool, typer.Option(help="Go on with a ledger that misses earlier runs.")
    ] = False,
) -> None:
    """Agree to a held plan: to its very rows. `apply` then sends them, and nothing more."""
    if lost_ledger:
        was_lost = _engine().accept_lost_ledger()
        said = "The next run is a first run: nothing fires." if was_lost else "It was not lost."
        return display.print_lines([said])
    if not plan_id:
        raise UserError("Which plan? Give its id, as `reverse-etl plan` shows it.")
    approved = _engine().approve(plan_id, by or getpass.getuser())
    words = f"{approved.adds} adds, {approved.changes} changes, {approved.removes} removes"
    send = f"Send with: reverse-etl apply -s {approved.sync.id}"
    return display.print_lines([f"Approved for {approved.sync.id}: {words}.", send])


@app.command()
def retry(
    select: Select = None,
    keys: Keys = None,
    unknown: Annotated[
        bool, typer.Option(help="Also events of these keys whose outcome nobody knows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused rows again now, without waiting for their next try."""
    if unknown and not keys:
        raise UserError("--unknown may reach somebody twice: name each event with --key.")
    with display.progress() as show:
        results = _engine().retry(select, keys, show, unknown=unknown)
    _show_results(results, as_json=as_json)


@app.command()
def dismiss(
    sync: Annotated[str, typer.Argument(help="destination/model")],
    key: Annotated[str, typer.Argument(help="As `deliveries` shows it.")],
) -> None:
    """Let a refused row be until it changes, or an unknown event for good."""
    if not _engine().dismiss(sync, key):
        raise UserError(f"{sync} has no refused or unknown row {key}.")
    display.print_lines([f"{sync}: {key} is left alone."])


@app.command()
def deliveries(
    select: Select = None,
    keys: Keys = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show attempts, newest first, with the tool's own words."""
    found = _engine().deliveries(select, keys, limit)
    if as_json:
        return display.print_json(found)
    columns = ("sync", "key", "action", "attempt", "status", "code", "message", "attempted_at")
    return display.print_table("Deliveries", columns, found)


@app.command()
def explain(
    who: Annotated[str, typer.Argument(help="A contact's e-mail address or id, or a customer.")],
    as_json: AsJson = False,
) -> None:
    """Tell why somebody got what they got: from raw facts to the tool's answer."""
    sections = _engine().explain(who)
    if as_json:
        return display.print_json([section.as_dict() for section in sections])
    return display.print_lines(
        [
            line
            for section in sections
            for line in (section.title, *(f"  {told}" for told in section.lines), "")
        ]
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="SEGMENT|TRIGGER", help="As its file is called.")],
    as_json: AsJson = False,
) -> None:
    """Show a segment or trigger: its size by day, who entered and left, who is in and why."""
    with connected_to(Settings.from_environment().warehouse_path) as connection:
        audience = read_audience(connection, name)
    if as_json:
        return display.print_json(audience.as_dict())
    return _show_audience(audience)


@app.command()
def erase(
    who: Annotated[str, typer.Argument(help="A contact's e-mail address or id.")],
    as_json: AsJson = False,
) -> None:
    """Remove a person from every tool, the ledger, files and warehouse, for good."""
    request_id, receipts = _engine().erase(who)
    lines = [{"request": request_id, **vars(receipt)} for receipt in receipts]
    if as_json:
        display.print_json(lines)
    else:
        columns = ("hop", "outcome", "code", "message")
        display.print_table(f"Erasure {request_id}", columns, lines)
    if not all(receipt.is_done for receipt in receipts):
        raise typer.Exit(INCOMPLETE)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check configuration, models, warehouse, ledger and each tool's credentials. Sends nothing."""
    findings = [vars(finding) for finding in examine(Settings.from_environment())]
    if as_json:
        display.print_json(findings)
    else:
        told = [{**f, "state": "wrong" if f["problem"] else "fine"} for f in findings]
        display.print_table("Doctor", ("part", "state", "problem"), told)
    if any(finding["problem"] for finding in findings):
        raise typer.Exit(MISTAKE)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what the ledger remembers of every sync and destination."""
    known = read_status(Settings.from_environment())
    if as_json:
        return display.print_json(known)
    columns = ("sync", "acknowledged", "seen", "unknown", "delivered", "rejected", "dead_letters")
    return display.print_table("Ledger", (*columns, "last_run_at"), known["syncs"])


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


def _engine() -> Engine:
    return Engine(Settings.from_environment())


def _previewed(plan: Plan) -> list[str]:
    samples = [f"  {sample}" for sample in plan.samples()]
    held = plan.held and plan.id
    agree = [f"  to release it: reverse-etl approve {plan.id}"] if held else []
    return [plan.sync.id, *samples, *agree] if samples or agree else []


def _show_audience(audience: Audience) -> None:
    parts = (
        (f"The {audience.kind} {audience.name} by day", audience.trend),
        ("Its groups", audience.groups),
        ("What was decided", audience.decisions),
        ("Some of them, and why they are in", audience.sample),
        ("Who is in others too", audience.overlap),
    )
    for title, lines in parts:
        if lines:
            display.print_table(title, tuple(lines[0]), lines)


def _show_results(results: list[SyncResult], *, as_json: bool) -> None:
    lines = [result.as_dict() for result in results]
    if as_json:
        display.print_json(lines)
    else:
        columns = ("sync", "planned", "delivered", "rejected", "retryable", "unknown", "seen")
        display.print_table("Applied", (*columns, "held", "reason", "error"), lines)
    raise typer.Exit(_exit_code(results))


def _exit_code(results: list[SyncResult]) -> int:
    if not all(result.is_clean for result in results):
        return INCOMPLETE
    return HELD if any(result.held for result in results) else DONE


feedback_commands.add_to(app)

if __name__ == "__main__":
    main()
