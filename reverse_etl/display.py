"""What the command line shows: tables, JSON, progress, log lines."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from reverse_etl import log
from reverse_etl.push import Progress

SECONDS_BETWEEN_LINES = 1.0


def print_json(value: Any) -> None:
    """On stdout, indented."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def print_lines(lines: Sequence[str]) -> None:
    """Plain text on stdout, each line as it is."""
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)


def print_table(title: str, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """One row for each line, its values in the order of the columns."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column == "sync")
    for line in lines:
        table.add_row(*(_cell(line[column]) for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def print_error(words: str) -> None:
    """On stderr, in red where there is colour."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"Error: {words}", style="red", markup=False)


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Bars with rate and quota on a terminal. Elsewhere the log's JSON lines, progress among them,
    one a second for each sync and one at its end. Always on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with _logged():
            yield _Lines().show
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = TextColumn("{task.fields[rate]}")
    with Bars(*columns, TimeRemainingColumn(), rate, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: Progress) -> None:
            if step.sync not in tasks:
                tasks[step.sync] = bars.add_task(step.sync, total=step.total, rate="")
            quota = "" if step.quota is None else f", {step.quota:,} calls left today"
            shown = f"{step.rate:,.0f}/s{quota}"
            bars.update(tasks[step.sync], completed=step.done, rate=shown)

        yield show


class _Lines:
    """Progress as events of the log."""

    def __init__(self) -> None:
        self._shown: dict[str, float] = {}
        self._mutex = threading.Lock()

    def show(self, step: Progress) -> None:
        now = time.monotonic()
        with self._mutex:
            is_due = now - self._shown.get(step.sync, -1e9) >= SECONDS_BETWEEN_LINES
            if not is_due and step.done < step.total:
                return
            self._shown[step.sync] = now
        remaining = None if step.remaining is None else round(step.remaining, 1)
        log.event(
            "progress",
            sync=step.sync,
            done=step.done,
            total=step.total,
            rate=round(step.rate, 1),
            remaining_s=remaining,
            quota=step.quota,
        )


@contextmanager
def _logged() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log.JsonLines())
    log.LOGGER.addHandler(handler)
    log.LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.LOGGER.removeHandler(handler)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
