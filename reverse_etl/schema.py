"""The ledger's tables. How an older ledger becomes a current one is in migrations.

Instants are ISO 8601 text in UTC, so that SQLite and Postgres store and sort the same thing.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, Numeric, String, Table, Text

tables = MetaData()

ledger_meta = Table(
    "ledger_meta", tables, Column("name", String, primary_key=True), Column("value", Text)
)

sync_state = Table(
    "sync_state",
    tables,
    Column("sync", String, primary_key=True),
    Column("account", String, nullable=False),  # another account is another memory: a first run
    Column("baseline_at", String),
    Column("last_run_at", String),
)

# What a destination has of each row. ``pending``: a request left and its answer is not in yet, so
# the fingerprint is empty and the next plan sends the row again (or, where that could reach a
# person twice, calls it unknown). ``acknowledged_at`` is null only while the tool surely has never
# had the row: an unknown outcome sets it too, so that a removal is still planned.
acknowledged = Table(
    "acknowledged",
    tables,
    Column("sync", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    # acknowledged seen pending unknown suppressed expired dismissed
    Column("state", String, nullable=False),
    Column("acknowledged_at", String),
    sqlite_with_rowid=False,
)

external_ids = Table(
    "external_ids",
    tables,
    Column("account", String, primary_key=True),
    Column("object", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("external_id", String, nullable=False),
    sqlite_with_rowid=False,
)

# One row an attempt. Ids sort by time. A trigger's events are written down as planned when their
# run begins. Of levels, which may be sent twice and are many, only what was not delivered is here.
deliveries = Table(
    "deliveries",
    tables,
    Column("delivery_id", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("sync", String, nullable=False),
    Column("key", String, nullable=False),
    Column("customer_id", String),  # of a trigger: whom it was about, for what comes after it
    Column("contact_id", String),
    Column("action", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    # planned attempted delivered rejected retryable unknown
    Column("status", String, nullable=False),
    Column("code", String, nullable=False, server_default=""),
    Column("message", Text, nullable=False, server_default=""),
    Column("attempted_at", String),
    Column("settled_at", String),
    sqlite_with_rowid=False,
)
Index("deliveries_by_key", deliveries.c.sync, deliveries.c.key)
_open = deliveries.c.status.in_(("planned", "attempted"))
Index("deliveries_open", deliveries.c.sync, sqlite_where=_open, postgresql_where=_open)

# Attempts of levels, a request a row: ``packed_keys`` holds what is in it while it is open, and
# what of it was delivered afterwards; see packing.
batches = Table(
    "batches",
    tables,
    Column("batch_id", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("sync", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", String, nullable=False),  # attempted delivered
    Column("rows", Integer, nullable=False),
    Column("packed_keys", Text, nullable=False),
    Column("attempted_at", String, nullable=False),
    Column("settled_at", String),
)
_asked = batches.c.status == "attempted"
Index("batches_open", batches.c.sync, sqlite_where=_asked, postgresql_where=_asked)

dead_letters = Table(
    "dead_letters",
    tables,
    Column("sync", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("action", String, nullable=False),
    Column("code", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_retry_at", String, nullable=False),
)

# Calls of an account in a day (UTC), set aside before they are made.
quotas = Table(
    "quotas",
    tables,
    Column("account", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("used", Integer, nullable=False),
    Column("allowed", Integer),  # as the tool told it on that day
)

# Until when a tool takes no calls, where it asked for a pause longer than a run waits.
pauses = Table(
    "pauses",
    tables,
    Column("account", String, primary_key=True),
    Column("paused_until", String, nullable=False),
)

suppressions = Table(
    "suppressions",
    tables,
    Column("who", String, primary_key=True),  # e-mail in lower case, or contact_id
    Column("reason", String, nullable=False),
    Column("source", String, nullable=False),
    Column("suppressed_at", String, nullable=False),
)

# What people did with what they were sent, as tools and mails told it. A fact told twice is one.
feedback = Table(
    "feedback",
    tables,
    Column("destination", String, primary_key=True),
    Column("feedback_id", String, primary_key=True),
    Column("kind", String, nullable=False),  # unsubscribed bounced complained opened clicked
    Column("email", String, nullable=False),  # in lower case; empty where only the contact is known
    Column("contact_id", String, nullable=False),
    Column("occurred_at", String, nullable=False),
    Column("received_at", String, nullable=False),
    sqlite_with_rowid=False,
)

# Until when a tool's account was asked for feedback.
pulls = Table(
    "pulls",
    tables,
    Column("account", String, primary_key=True),
    Column("pulled_until", String, nullable=False),
)

# Which tools know that somebody must not be written to any more.
opt_outs_told = Table(
    "opt_outs_told",
    tables,
    Column("account", String, primary_key=True),
    Column("who", String, primary_key=True),  # as in suppressions
    Column("told_at", String, nullable=False),
    sqlite_with_rowid=False,
)

# People who were erased, as salted hashes: enough to know them again, not enough to name them.
tombstones = Table(
    "tombstones",
    tables,
    Column("who", String, primary_key=True),
    Column("erased_at", String, nullable=False),
)

# What became of an erasure at each hop: a tool, the ledger, a file, a table.
receipts = Table(
    "receipts",
    tables,
    Column("request_id", String, primary_key=True),
    Column("hop", String, primary_key=True),
    Column("outcome", String, nullable=False),
    Column("code", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("settled_at", String, nullable=False),
)

runs = Table(
    "runs",
    tables,
    Column("run_id", String, primary_key=True),
    Column("started_at", String, nullable=False),
    Column("finished_at", String),
)

plans = Table(
    "plans",
    tables,
    Column("run_id", String, primary_key=True),
    Column("sync", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("adds", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("removes", Integer, nullable=False),
    Column("mrr", Numeric(18, 2)),
    Column("held", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

approvals = Table(
    "approvals",
    tables,
    Column("sync", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("approved_by", String, nullable=False),
    Column("approved_at", String, nullable=False),
    Column("used_at", String),
)

# The rows of an approved plan until it has been carried out: what is left of it after a crash is
# part of it, and nothing else is.
approved_rows = Table(
    "approved_rows",
    tables,
    Column("sync", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("action", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    sqlite_with_rowid=False,
)

# Rows of a sync's model and of all that it is made of, when the sync last ran through.
upstream_rows = Table(
    "upstream_rows",
    tables,
    Column("sync", String, primary_key=True),
    Column("relation", String, primary_key=True),
    Column("rows", Integer, nullable=False),
)
