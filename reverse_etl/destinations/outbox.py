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

from reverse_etl.destinations.base import Action, Destination, Limits, Outcome, Person
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

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """Rewrite every file without the lines of these people, whole or not at all."""
        names = {name for person in people for name in (person.contact_id, person.email) if name}
        lines = 0
        try:
            for file in sorted(self._folder.glob("*.jsonl")):
                lines += _rewritten(file, names)
        except OSError as error:
            raise NotSent(f"The outbox cannot be written: {error.strerror}.") from None
        return [Outcome(p.contact_id, "delivered", "erased", f"{lines} lines") for p in people]

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

    @property
    def _folder(self) -> Path:
        return self.config.project_root / str(self.config.option("directory", "data/outbox"))

    def _file(self, sync: Sync) -> Path:
        return self._folder / f"{sync.id.replace('/', '__')}.jsonl"


def _rewritten(file: Path, names: set[str]) -> int:
    """How many lines went."""
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not names.intersection(_named(line))]
    if len(kept) < len(lines):
        new = file.with_suffix(".new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(kept)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    return len(lines) - len(kept)


def _named(line: bytes) -> list[str]:
    told = orjson.loads(line)
    data = told.get("data", {})
    return [str(told.get("key")), str(data.get("contact_id")), str(data.get("email")).lower()]


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
