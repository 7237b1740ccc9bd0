"""What can go wrong with a run and is nobody's mistake to mend by a message."""


class RunFailedError(Exception):
    """A Dagster run ended with a failed step."""
