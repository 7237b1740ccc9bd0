"""The last run's id, in a file beside the ledger: how a ledger notices that it was replaced."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Marker:
    """Kept where a ledger has a folder, which is beside a SQLite file."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "last_run" if folder else None

    def read(self) -> str | None:
        """The id of the last run that began here; None where none did."""
        try:
            return self._file.read_text().strip() or None if self._file else None
        except OSError:
            return None

    def write(self, run_id: str) -> None:
        """Whole or not at all. Where it cannot be written it says nothing, which harms nobody."""
        if self._file is None:
            return
        new = self._file.with_suffix(".new")
        with suppress(OSError):
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(run_id)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self._file)

    def forget(self) -> None:
        """Begin anew."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
