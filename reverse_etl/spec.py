"""What a model says about itself under ``config(meta={"sync": ...})``, and the syncs that follow.

dbt carries ``meta`` into its manifest without reading it; everything about it is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reverse_etl.configuration import Configuration, DestinationConfig
from reverse_etl.errors import UserError

GROUP_MARK = "\x1f"
"""Joins contact and group in a grouped segment's key: a control character no name contains."""
Kind = Literal["profile", "segment", "trigger"]
_FIELDS_OF: dict[Kind, frozenset[str]] = {
    "profile": frozenset({"destinations", "on_removal", "mode"}),
    "segment": frozenset({"destinations", "list", "group_key"}),
    "trigger": frozenset({"channel", "event", "template"}),
}
_COMMON = frozenset({"kind", "key", "description", "object", "budget"})


class Budget(BaseModel):
    """The most a plan may add, remove or send before a person has to agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rows: int | None = Field(default=None, ge=0)
    share: float | None = Field(default=None, ge=0, le=1)
    """Part of what the destination already has, 0 to 1."""
    mrr: float | None = Field(default=None, ge=0)
    """Monthly revenue of the customers touched, in the reporting currency."""


class SyncSpec(BaseModel):
    """``meta.sync`` of one model. Which keys are allowed depends on the kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Kind
    key: str
    description: str = ""
    object: Literal["contact", "customer"] = "contact"
    budget: Budget = Budget()
    destinations: tuple[str, ...] = ()
    on_removal: Literal["ignore", "clear", "archive"] = "ignore"
    mode: Literal["upsert", "update", "mirror"] = "upsert"
    list: str | None = None
    """The segment's name in the tool."""
    group_key: str | None = None
    """A column whose every value gets a list of its own."""
    channel: str | None = None
    event: str | None = None
    """The trigger's name in the tool."""
    template: str | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> SyncSpec:
        allowed = _COMMON | _FIELDS_OF[self.kind]
        if foreign := sorted(self.model_fields_set - allowed):
            raise ValueError(f"{foreign[0]} does not belong to kind {self.kind}")
        if self.kind == "trigger":
            if not self.channel:
                raise ValueError("channel is missing: a trigger names the channel it goes through")
            if self.key != "event_id":
                raise ValueError("key must be event_id: a trigger is one event")
        elif not self.destinations:
            raise ValueError("destinations is missing: name at least one")
        elif len(set(self.destinations)) < len(self.destinations):
            raise ValueError("destinations names one twice")
        return self

    @property
    def removal(self) -> Literal["ignore", "clear", "archive"]:
        """What happens to a profile whose row is gone: a mirror archives it."""
        if self.mode == "mirror" and self.on_removal == "ignore":
            return "archive"
        return self.on_removal


@dataclass(frozen=True)
class Sync:
    """One model to one destination."""

    model: str
    schema: str
    relation: str
    file: str
    columns: tuple[str, ...]
    """As declared beside the model, until the warehouse has told the real ones."""
    spec: SyncSpec
    destination: DestinationConfig
    node: str = ""
    """The model's id in dbt's manifest."""
    open_columns: frozenset[str] = frozenset()
    """Described and not tagged ``pii``: what a preview may show."""

    @property
    def id(self) -> str:
        """``<destination>/<model>``, the name a person selects it by."""
        return f"{self.destination.name}/{self.model}"

    @property
    def list_name(self) -> str:
        """The segment's list: as written, else the model's name in words."""
        words = self.model.removeprefix("seg_").replace("_", " ")
        return self.spec.list or words[:1].upper() + words[1:]

    def list_of(self, group: str | None) -> str:
        """The list for one value of ``group_key``; the segment's own without one."""
        return f"{self.list_name}: {group}" if group else self.list_name

    def owns_list(self, name: str) -> bool:
        """Whether a list of that name is, or may come to be, one of this segment's."""
        grouped = self.spec.group_key is not None and name.startswith(f"{self.list_name}: ")
        return name == self.list_name or grouped

    @property
    def event_name(self) -> str:
        """The trigger's event: as written, else the model's name."""
        return self.spec.event or self.model.removeprefix("trg_")

    def require_declared_key(self) -> None:
        """Raise UserError when the columns described beside the model do not hold the key."""
        wanted = {"key": self.spec.key, "group_key": self.spec.group_key}
        for setting, column in wanted.items():
            if column and self.columns and column not in self.columns:
                raise UserError(
                    f"{self.file}: meta.sync.{setting}: the model has no column {column!r}. "
                    f"Its columns: {', '.join(self.columns)}."
                )

    def matches(self, pattern: str) -> bool:
        """Whether a ``--select`` pattern means this sync: id, model or destination, with ``*``."""
        return any(
            fnmatchcase(name, pattern) for name in (self.id, self.model, self.destination.name)
        )


def read_manifest(manifest_path: Path, configuration: Configuration) -> Mapping[str, Any]:
    """dbt's manifest: ``nodes`` and ``sources`` by their ids. Raises UserError naming the fix."""
    try:
        written = manifest_path.stat()
        return _manifest(manifest_path, written.st_mtime_ns, written.st_size)
    except FileNotFoundError:
        raise UserError(
            f"{configuration.settings.shown(manifest_path)} does not exist: run `make demo` or "
            "`dbt parse` first."
        ) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UserError(
            f"{configuration.settings.shown(manifest_path)} is not a dbt manifest: run `dbt parse`."
        ) from None


@lru_cache(maxsize=2)
def _manifest(path: Path, _written_ns: int, _size: int) -> Mapping[str, Any]:
    """The file as it is: a run of many syncs reads its megabytes once."""
    manifest = orjson.loads(path.read_bytes())
    return {"sources": {}, **manifest, "nodes": manifest["nodes"]}


def load_syncs(manifest_path: Path, configuration: Configuration) -> list[Sync]:
    """Every sync the manifest declares, sorted by id. Raises UserError naming file, key and fix."""
    nodes: Mapping[str, Mapping[str, Any]] = read_manifest(manifest_path, configuration)["nodes"]
    syncs = [
        sync
        for identity, node in nodes.items()
        if node["resource_type"] == "model"
        for sync in _syncs_of(identity, node, configuration)
    ]
    return sorted(syncs, key=lambda sync: sync.id)


def selected(syncs: list[Sync], patterns: list[str] | None) -> list[Sync]:
    """The syncs any pattern means; all without patterns. A pattern without a match is an error."""
    if not patterns:
        return syncs
    for pattern in patterns:
        if not any(sync.matches(pattern) for sync in syncs):
            known = ", ".join(sync.id for sync in syncs) or "none"
            raise UserError(f"--select {pattern} matches no sync. Known syncs: {known}.")
    return [sync for sync in syncs if any(sync.matches(pattern) for pattern in patterns)]


def _syncs_of(
    identity: str, node: Mapping[str, Any], configuration: Configuration
) -> Iterator[Sync]:
    meta = (node.get("config") or {}).get("meta") or {}
    if "sync" not in meta:
        return
    file = f"dbt_project/{node['original_file_path']}"
    spec = _spec(meta["sync"], file)
    for destination in _destinations_of(spec, file, configuration):
        yield Sync(
            model=node["name"],
            schema=node["schema"],
            relation=node.get("alias") or node["name"],
            file=file,
            columns=tuple(node.get("columns") or {}),
            spec=spec,
            destination=destination,
            node=identity,
            open_columns=frozenset(
                name for name, column in (node.get("columns") or {}).items() if not _is_pii(column)
            ),
        )


def _is_pii(column: Mapping[str, Any]) -> bool:
    config = column.get("config") or {}
    return "pii" in (column.get("tags") or []) or "pii" in (config.get("tags") or [])


def _spec(written: Any, file: str) -> SyncSpec:
    try:
        return SyncSpec.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        key = "meta.sync" + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        )
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"not a known key (known: {', '.join(sorted(SyncSpec.model_fields))})"
        raise UserError(f"{file}: {key}: {message}.") from None


def _destinations_of(
    spec: SyncSpec, file: str, configuration: Configuration
) -> Iterator[DestinationConfig]:
    if spec.channel is not None:
        serving = configuration.serving(spec.channel)
        if serving is None:
            known = ", ".join(sorted(configuration.channels)) or "none"
            raise UserError(
                f"{file}: meta.sync.channel: {spec.channel!r} is not a channel. Known channels: "
                f"{known}; map it to a destination under channels in {configuration.file}."
            )
        yield serving
    for position, name in enumerate(spec.destinations):
        config = configuration.destination(name)
        if config is None:
            known = ", ".join(sorted(configuration.destinations)) or "none"
            raise UserError(
                f"{file}: meta.sync.destinations[{position}]: {name!r} is not a destination. "
                f"Known destinations: {known}; configure it in {configuration.file}."
            )
        yield config
