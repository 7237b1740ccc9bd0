"""A run on a terminal: one line when a step ends, and the words of what went wrong; nothing else."""

from __future__ import annotations

import logging
import sys

import dagster as dg


class _Steps(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        if event is None or not event.is_step_event:
            return
        if event.is_step_success:
            seconds = event.step_success_data.duration_ms / 1000
            sys.stdout.write(f"  {_name(event.step_key):<44} {seconds:6.1f} s\n")
        elif event.is_step_failure:
            sys.stdout.write(f"  {_name(event.step_key):<44}   FAILED\n")
        sys.stdout.flush()


def _name(step_key: str) -> str:
    return step_key.replace("__", "/").removeprefix("syncs/")


@dg.logger(description="One line when a step ends.")
def steps(_: dg.InitLoggerContext) -> logging.Logger:
    """Dagster's logger of that behaviour."""
    logger = logging.Logger("progress", level=logging.DEBUG)  # noqa: LOG001 - as Dagster's own loggers are made
    logger.addHandler(_Steps())
    return logger
