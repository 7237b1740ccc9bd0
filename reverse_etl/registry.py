"""Who a person is in the warehouse, and where the warehouse keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from reverse_etl.people import normal
from reverse_etl.upstream import Relation


@dataclass(frozen=True)
class Found:
    """A contact: ``contact_ids`` are all that were ever given to them, the present one first."""

    contact_ids: tuple[str, ...]
    emails: tuple[str, ...]
    customer_id: str | None = None


class Registry:
    """Reads and removes people in a DuckDB warehouse, whatever is built there so far."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._columns: dict[tuple[str, str], list[str]] = {}
        self._texts: dict[tuple[str, str], list[str]] = {}
        tables = "select schema_name, table_name from duckdb_tables()"
        self._tables = set(connection.execute(tables).fetchall())
        for schema, table, column, kind in connection.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns()"
            " where not internal order by column_index"
        ).fetchall():
            self._columns.setdefault((schema, table), []).append(column)
            if kind == "VARCHAR":
                self._texts.setdefault((schema, table), []).append(column)

    def has(self, schema: str, table: str, *columns: str) -> bool:
        """Whether a table or view is there with these columns."""
        return (schema, table) in self._columns and set(columns) <= set(
            self._columns[schema, table]
        )

    def columns(self, schema: str, table: str) -> list[str]:
        """A table's columns; none where it is not there."""
        return self._columns.get((schema, table), [])

    def find(self, who: str) -> Found | None:
        """A contact by any address or id of theirs; None where nobody is known by it."""
        name = normal(who)
        present = self._present(name)
        if not self.has("marts", "contacts", "contact_id", "email", "customer_id"):
            return None
        row = self._connection.execute(
            "select contact_id, lower(email), customer_id from marts.contacts"
            " where contact_id = ? or lower(email) = ?",
            [present, name],
        ).fetchone()
        if row is None:
            return None
        contact_id, email, customer_id = row
        ids, emails = [contact_id], [email] if email else []
        for schema in self._schemas_with("contact_aliases", "alias_id", "contact_id"):
            query = f'select alias_id from "{schema}".contact_aliases where contact_id = ?'  # noqa: S608
            ids += [alias for (alias,) in self._connection.execute(query, [contact_id]).fetchall()]
        for schema in self._schemas_with("int_contact_links", "contact_id", "email"):
            query = f'select distinct lower(email) from "{schema}".int_contact_links'  # noqa: S608
            found = self._connection.execute(f"{query} where contact_id = ?", [contact_id])
            emails += [address for (address,) in found.fetchall() if address]
        return Found(tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(emails)), customer_id)

    def remove(self, found: Found, relations: Sequence[Relation]) -> Mapping[str, int]:
        """Take a person out of these tables, in one transaction: rows of theirs go, and what else
        holds one of their addresses is emptied. Returns the rows touched, by table."""
        touched: dict[str, int] = {}
        self._connection.begin()
        try:
            for relation in relations:
                if (count := self._remove_from(found, relation)) > 0:
                    touched[relation.name] = count
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()
        return touched

    def holding(self, found: Found, relations: Sequence[Relation]) -> Mapping[str, int]:
        """Rows of these tables that hold one of a person's addresses."""
        held: dict[str, int] = {}
        for relation in relations:
            texts = self._texts.get((relation.schema, relation.table), [])
            if not texts or (relation.schema, relation.table) not in self._tables:
                continue
            where = " or ".join(
                f'lower("{column}") in ({_marks(found.emails)})' for column in texts
            )
            table = f'"{relation.schema}"."{relation.table}"'
            query = f"select count(*) from {table} where {where}"  # noqa: S608
            values = [*found.emails] * len(texts)
            [(count,)] = self._connection.execute(query, values).fetchall() if values else [(0,)]
            if count:
                held[relation.name] = count
        return held

    def _remove_from(self, found: Found, relation: Relation) -> int:
        place = relation.schema, relation.table
        if place not in self._tables:
            return 0
        table, count = f'"{relation.schema}"."{relation.table}"', 0
        if "contact_id" in self._columns[place]:
            ids = _marks(found.contact_ids)
            query = f"delete from {table} where contact_id in ({ids})"  # noqa: S608
            count += self._changed(query, found.contact_ids)
        for column in self._texts.get(place, []) if found.emails else []:
            inside = f'where lower("{column}") in ({_marks(found.emails)})'
            query = f"select count(*) from {table} {inside}"  # noqa: S608
            [(held,)] = self._connection.execute(query, [*found.emails]).fetchall()
            if held:
                # a row that is the address, and little else, goes as a whole
                is_theirs = column in ("email", "address", "alias_id")
                emptied = f'update {table} set "{column}" = null {inside}'  # noqa: S608
                deleted = f"delete from {table} {inside}"  # noqa: S608
                count += self._changed(deleted if is_theirs else emptied, found.emails)
        return count

    def _changed(self, query: str, values: Sequence[str]) -> int:
        row = self._connection.execute(query, [*values]).fetchone()
        return int(row[0]) if row else 0

    def _present(self, name: str) -> str:
        """The contact's present id, where the given one is an older one."""
        for schema in self._schemas_with("contact_aliases", "alias_id", "contact_id"):
            query = f'select contact_id from "{schema}".contact_aliases where alias_id = ?'  # noqa: S608
            if row := self._connection.execute(query, [name]).fetchone():
                return str(row[0])
        return name

    def _schemas_with(self, table: str, *columns: str) -> list[str]:
        return sorted(s for s, t in self._columns if t == table and self.has(s, t, *columns))


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" for _ in values)
