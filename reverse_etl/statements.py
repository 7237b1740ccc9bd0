"""The ledger's statements about single rows, built once: they run for every batch."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, update

from reverse_etl import schema


def _of_row(table: Table) -> ColumnElement[bool]:
    return and_(table.c.sync == bindparam("of_sync"), table.c.key == bindparam("of_key"))


OF_ROW = ("of_sync", "of_key")
SETTLE = (
    update(schema.deliveries)
    .where(schema.deliveries.c.delivery_id == bindparam("id"))
    .values(
        status=bindparam("to"),
        code=bindparam("said"),
        message=bindparam("why"),
        settled_at=bindparam("at"),
    )
)
END_BATCH = (
    update(schema.batches)
    .where(schema.batches.c.batch_id == bindparam("id"))
    .values(status=bindparam("to"), settled_at=bindparam("at"))
)
DROP_ACKNOWLEDGED = delete(schema.acknowledged).where(_of_row(schema.acknowledged))
DROP_DEAD_LETTER = delete(schema.dead_letters).where(_of_row(schema.dead_letters))
FORGET_IF_NEVER_TAKEN = DROP_ACKNOWLEDGED.where(
    schema.acknowledged.c.state == "pending", schema.acknowledged.c.acknowledged_at.is_(None)
)
