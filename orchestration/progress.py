"""A run on a terminal: how far dbt is, one line when a step ends, and nothing else."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import dagster as dg
from rich.console import Console

_NODE = re.compile(r"^(\d+) of (\d+) (?!START)")

console = Console(file=sys.__stdout__, highlight=False)
"""Writes to the terminal itself, whatever stands for standard output meanwhile."""


@contextmanager
def watched() -> Iterator[None]:
    """dbt's lines become one that counts; they stay whole in the run's logs in Dagster."""
    with console.status("starting") as status:

        class Lines(io.TextIOBase):
            def write(self, text: str) -> int:
                if found := _NODE.match(text):
                    status.update(f"dbt: {found[1]} of {found[2]} models and tests")
                return len(text)

        with redirect_stdout(Lines()):
            yield


class _Steps(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        if event is None or not (event.is_step_success or event.is_step_failure):
            return
        name = event.step_key.replace("__", "/")
        if event.is_step_success:
            seconds = event.step_success_data.duration_ms / 1000
            console.print(f"  {name:<40} {seconds:6.1f} s")
        else:
            console.print(f"  {name:<40}  failed", style="red")


@dg.logger(config_schema=None, description="One line when a step ends.")
def steps(_: dg.InitLoggerContext) -> logging.Logger:
    """Dagster's logger of that behaviour."""
    logger = logging.Logger("steps", level=logging.DEBUG)
    logger.addHandler(_Steps())
    return logger
