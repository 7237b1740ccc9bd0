"""What can go wrong with a run, and what is worth a second try."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from reverse_etl.errors import UserError


class RunFailedError(Exception):
    """A Dagster run ended with a failed step."""


@contextmanager
def mistakes_are_final() -> Iterator[None]:
    """A mistake that a person has to mend is told at once; whatever else fails is tried again."""
    try:
        yield
    except UserError as mistake:
        raise dg.Failure(str(mistake), allow_retries=False) from mistake
