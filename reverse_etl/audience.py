"""What marketers see of one segment or trigger: how many, who, since when, why, where else.

Read from ``measurement.{segment,trigger}_{sizes,members,overlap}``, as the last build left them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import duckdb

from reverse_etl.errors import UserError
from reverse_etl.registry import Registry

Kind = Literal["segment", "trigger"]
PREFIXES: dict[Kind, str] = {"segment": "seg_", "trigger": "trg_"}
TREND_DAYS = 14
"""So many of the last days built are shown."""
_SCHEMA = "measurement"

Line = dict[str, Any]


@dataclass(frozen=True)
class Audience:
    """One segment or trigger on the last day built.

    ``trend``: days built, the last first. ``groups``: sizes of a segment's groups.
    ``decisions``: members of a trigger by what was decided. ``sample``: some members, addresses
    masked, with why they are in. ``overlap``: others that hold the same people, most first.
    """

    kind: Kind
    name: str
    as_of_date: date
    trend: Sequence[Line]
    groups: Sequence[Line]
    decisions: Sequence[Line]
    sample: Sequence[Line]
    overlap: Sequence[Line]

    def as_dict(self) -> dict[str, Any]:
        """As ``show --json`` prints it: today's figures first."""
        own = {name: value for name, value in vars(self).items() if name != "trend"}
        return {**own, **self.trend[0], "trend": list(self.trend)}


def read_audience(connection: duckdb.DuckDBPyConnection, asked: str) -> Audience:
    """The segment or trigger of that name, with or without ``seg_`` or ``trg_``. Raises UserError
    where there is none, where the name is that of both, and where nothing is built yet."""
    registry = Registry(connection)
    for kind in PREFIXES:
        for table in ("sizes", "members", "overlap"):
            if not registry.has(_SCHEMA, f"{kind}_{table}"):
                raise UserError(
                    f"The warehouse has no {_SCHEMA}.{kind}_{table} yet. Run `make demo` or "
                    "`dbt build`."
                )
    kind, name = _meant(connection, asked)
    return _Reading(connection, kind, name).audience()


def _meant(connection: duckdb.DuckDBPyConnection, asked: str) -> tuple[Kind, str]:
    known = {kind: _names(connection, kind) for kind in PREFIXES}
    found: list[tuple[Kind, str]] = [
        (kind, asked.removeprefix(prefix))
        for kind, prefix in PREFIXES.items()
        if asked.removeprefix(prefix) in known[kind]
    ]
    if not found:
        listed = "; ".join(f"{kind}s: {', '.join(names)}" for kind, names in known.items())
        raise UserError(f"There is no segment or trigger {asked!r}. There are {listed}.")
    if len(found) > 1:
        raise UserError(f"{asked} is a segment and a trigger: say seg_{asked} or trg_{asked}.")
    return found[0]


def _names(connection: duckdb.DuckDBPyConnection, kind: Kind) -> list[str]:
    """Those of the last day built: what was taken out since is none any more."""
    table = f"{_SCHEMA}.{kind}_sizes"
    query = (
        f"select distinct {kind}_name from {table}"  # noqa: S608 - no name comes from outside
        f" where as_of_date = (select max(as_of_date) from {table}) order by 1"
    )
    return [name for (name,) in connection.execute(query).fetchall()]


@dataclass(frozen=True)
class _Reading:
    connection: duckdb.DuckDBPyConnection
    kind: Kind
    name: str

    def audience(self) -> Audience:
        is_segment = self.kind == "segment"
        whole = "segment_group = ''" if is_segment else "true"
        trend = self._rows(
            "sizes",
            "as_of_date, size, compared_with_date, entered, departed",
            f"{whole} order by as_of_date desc limit {TREND_DAYS}",
        )
        today = trend[0]["as_of_date"]
        on_day = f"as_of_date = date '{today}'"
        beside = 'segment_group as "group"' if is_segment else "decision"
        sample = self._rows(
            "members",
            f"member_kind, member_id, customer_id, masked_address, member_since, {beside}, reason",
            f"{on_day} and is_sample order by {beside.split()[0]}, member_id",
        )
        overlap = self._rows(
            "overlap",
            f"other_{self.kind}_name as name,"
            " shared_contacts, share_of_contacts::double as share_of_contacts,"
            " shared_customers, share_of_customers::double as share_of_customers",
            "true order by shared_customers desc, name",
        )
        return Audience(
            kind=self.kind,
            name=self.name,
            as_of_date=today,
            trend=trend,
            groups=self._groups(on_day) if is_segment else [],
            decisions=[] if is_segment else self._decisions(on_day),
            sample=sample,
            overlap=overlap,
        )

    def _groups(self, on_day: str) -> list[Line]:
        return self._rows(
            "sizes",
            'segment_group as "group", size, entered, departed',
            f"{on_day} and segment_group <> '' order by size desc, segment_group",
        )

    def _decisions(self, on_day: str) -> list[Line]:
        return self._rows(
            "members",
            "decision, decision_reason as reason, count(*) as members",
            f"{on_day} group by all order by members desc, decision, reason",
        )

    def _rows(self, table: str, columns: str, rest: str) -> list[Line]:
        cursor = self.connection.execute(
            f"select {columns} from {_SCHEMA}.{self.kind}_{table}"  # noqa: S608 - as above
            f" where {self.kind}_name = ? and {rest}",
            [self.name],
        )
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
