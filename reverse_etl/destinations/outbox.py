"""A file instead of a tool: one JSON line per row. What an unconfigured project sends to.

Lines go to ``data/outbox/<sync>.jsonl`` (option ``directory``, relative to the project), readable
by their owner only. A trigger's line is written once per event_id.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

import orjson

from reverse_etl.destinations.base import Action, Destination, Limits, Outcome
from reverse_etl.errors import NotSent
from reverse_etl.planner import Change
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json

_ALL: frozenset[Action] = frozenset({"add", "change", "clear", "archive", "remove"})


class Outbox(Destination):
    """A folder of JSONL files."""

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": _ALL,
        "segment": _ALL,
        "trigger": _ALL,
    }
    dedupe_field = "key"

    def limits(self, kind: Kind) -> Limits:
        """A file takes what it is given; one writer at a time."""
        return Limits(batch_rows=1_000, batch_bytes=8_000_000)

    @property
    def account(self) -> str:
        """The folder."""
        return f"outbox:{self.config.option('directory', 'data/outbox')}"

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Append and force to disk. A failed write leaves no half line behind."""
        try:
            self._append(self._file(sync), sync, batch)
        except OSError as error:
            raise NotSent(f"The outbox cannot be written: {error.strerror}.") from None
        return [Outcome(change.key, "delivered") for change in batch]

    def _append(self, file: Path, sync: Sync, batch: Sequence[Change]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(handle, "rb+") as stream:
            _cut_to_whole_lines(stream)
            once = _keys(stream) if sync.spec.kind == "trigger" else set[str]()
            stream.seek(0, os.SEEK_END)
            for change in batch:
                if change.key not in once:
                    stream.write(_line(sync, change))
            stream.flush()
            os.fsync(stream.fileno())

    def _file(self, sync: Sync) -> Path:
        folder = self.config.project_root / str(self.config.option("directory", "data/outbox"))
        return folder / f"{sync.id.replace('/', '__')}.jsonl"


def _cut_to_whole_lines(stream: BinaryIO) -> None:
    """Drop a last line that a crash cut short."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65_536)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    stream.truncate(end)


def _keys(stream: BinaryIO) -> set[str]:
    stream.seek(0)
    return {orjson.loads(line)["key"] for line in stream}


def _line(sync: Sync, change: Change) -> bytes:
    line = {
        "sync": sync.id,
        "kind": sync.spec.kind,
        "action": change.action,
        "key": change.identity,
        "data": change.payload,
    }
    if change.group:
        line["group"] = change.group
    return as_json(line) + b"\n"
