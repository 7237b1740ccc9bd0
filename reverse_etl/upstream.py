"""What a model is made of, and which of it moved when the model shrank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

LOST = 0.1
"""A relation that lost so large a part of its rows counts as moved."""


@dataclass(frozen=True)
class Relation:
    """A table or view of the warehouse, as dbt knows it."""

    name: str
    schema: str
    table: str


class Lineage:
    """The ancestors of each node of a manifest, sources included."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._nodes: dict[str, Mapping[str, Any]] = {**manifest["sources"], **manifest["nodes"]}

    @cached_property
    def relations(self) -> dict[str, Relation]:
        """Everything that holds rows, by id."""
        return {
            identity: _relation(told)
            for identity, told in self._nodes.items()
            if told["resource_type"] in ("model", "seed", "snapshot", "source")
        }

    @property
    def own_tables(self) -> list[Relation]:
        """What dbt builds: models, seeds and snapshots."""
        return [r for i, r in self.relations.items() if self._nodes[i]["resource_type"] != "source"]

    @property
    def sources(self) -> list[Relation]:
        """What loaders land."""
        return [r for i, r in self.relations.items() if self._nodes[i]["resource_type"] == "source"]

    def above(self, node: str) -> list[str]:
        """The node itself and all that it is made of, what comes first first."""
        return [found for found in self._walk(node, set()) if found in self.relations]

    def source(self, source: str, table: str) -> Relation | None:
        """A source's table; None where the project does not have it."""
        for told in self._nodes.values():
            if (told.get("source_name"), told["name"]) == (source, table):
                return _relation(told)
        return None

    def moved(self, node: str, before: Mapping[str, int], now: Mapping[str, int]) -> str:
        """In words, the first relations on the way to a node that lost rows, with their counts."""
        above = self.above(node)
        lost = {
            identity
            for identity in above
            if now.get(identity, before.get(identity, 0)) < before.get(identity, 0) * (1 - LOST)
        }
        first = [
            f"{self.relations[identity].name} has {now[identity]} rows, {before[identity]} before"
            for identity in above
            if identity in lost and not lost.intersection(self._strictly_above(identity))
        ]
        return "; ".join(first)

    def _strictly_above(self, node: str) -> set[str]:
        return set(self._walk(node, set())) - {node}

    def _walk(self, node: str, seen: set[str]) -> Iterator[str]:
        """Parents before children."""
        if node in seen or node not in self._nodes:
            return
        seen.add(node)
        for parent in (self._nodes[node].get("depends_on") or {}).get("nodes") or []:
            yield from self._walk(parent, seen)
        yield node


def _relation(told: Mapping[str, Any]) -> Relation:
    table = told.get("alias") or told.get("identifier") or told["name"]
    is_source = told["resource_type"] == "source"
    name = f"{told['source_name']}.{told['name']}" if is_source else told["name"]
    return Relation(name, told["schema"], table)
