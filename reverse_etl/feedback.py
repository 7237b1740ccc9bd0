"""What people did with what they were sent. Who wants nothing more is suppressed at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa
from sqlalchemy import select

from reverse_etl import schema
from reverse_etl.clock import Clock, as_instant
from reverse_etl.database import Database, in_pieces
from reverse_etl.people import People, hashed, normal

FeedbackKind = Literal["unsubscribed", "bounced", "complained", "opened", "clicked"]
STOPPING: frozenset[FeedbackKind] = frozenset({"unsubscribed", "bounced", "complained"})
"""After these nobody is written to. Tools tell only bounces for good as such."""
_NAMES = ["destination", "feedback_id", "kind", "email", "contact_id", "occurred_at", "received_at"]


@dataclass(frozen=True)
class Feedback:
    """What a person did with what they were sent, as the tool tells it.

    ``feedback_id`` is the tool's own id of the fact, or made of what makes it one, so that a fact
    told twice is one. ``email`` is in lower case; empty where only ``contact_id`` is known.
    """

    feedback_id: str
    kind: FeedbackKind
    email: str
    occurred_at: datetime
    detail: str = ""
    contact_id: str = ""


@dataclass(frozen=True)
class Kept:
    """How many facts were new, and how many people they stopped."""

    new: int = 0
    stopped: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.new + other.new, self.stopped + other.stopped)


class FeedbackLog:
    """The ledger's memory of it. See Ledger."""

    def __init__(self, database: Database, people: People, clock: Clock) -> None:
        self._database = database
        self._people = people
        self._clock = clock

    def keep(self, destination: str, account: str, facts: Iterable[Feedback]) -> Kept:
        """Write down what is new, and suppress who wants nothing more, in one transaction. Nothing
        is kept of people who were erased, nor an opt-out that we told this account ourselves."""
        kept, salt = Kept(), self._people.salt()
        erased = set(self._people.tombstones())
        for some in in_pieces(facts, 500):
            known = [
                fact
                for fact in some
                if not {hashed(who, salt) for who in _names(fact)} & erased and any(_names(fact))
            ]
            echoes = self._told(account, {fact.email for fact in known})
            news = [f for f in known if f.kind != "unsubscribed" or f.email not in echoes]
            kept += self._keep(destination, news)
        return kept

    def _keep(self, destination: str, facts: Sequence[Feedback]) -> Kept:
        t, s, now = schema.feedback, schema.suppressions, as_instant(self._clock())
        by_id = {fact.feedback_id: fact for fact in reversed(facts)}
        with self._database.writing() as connection:
            own = select(t.c.feedback_id).where(t.c.destination == destination)
            there: set[str] = set(connection.scalars(own.where(t.c.feedback_id.in_(list(by_id)))))
            new = [fact for id_, fact in by_id.items() if id_ not in there]
            rows = [
                (destination, f.feedback_id, f.kind, f.email, f.contact_id, at, now)
                for f in new
                for at in [as_instant(f.occurred_at)]
            ]
            self._database.put(connection, t, _NAMES, rows)
            stopped = {
                who: fact.kind for fact in new if fact.kind in STOPPING for who in _names(fact)
            }
            stood = select(s.c.who).where(s.c.who.in_(list(stopped)))
            stands: set[str] = set(connection.scalars(stood))
            names = ("who", "reason", "source", "suppressed_at")
            suppressed = [
                (who, kind, destination, now) for who, kind in stopped.items() if who not in stands
            ]
            self._database.put(connection, s, names, suppressed)
        return Kept(len(new), len(suppressed))

    def kept(self) -> pa.Table:
        """All of it, as the warehouse reads it: feedback_id (unique over all tools), destination,
        kind, email, contact_id, occurred_at, received_at."""
        t = schema.feedback
        told = (t.c.destination + ":" + t.c.feedback_id).label("feedback_id")
        others = [t.c[name] for name in _NAMES if name != "feedback_id"]
        return self._database.arrow(select(told, *others).order_by(t.c.received_at))

    def pulled_until(self, account: str) -> datetime | None:
        """Up to when a tool's account has told everything; None where it was never asked."""
        t = schema.pulls
        with self._database.reading() as connection:
            text = connection.scalar(select(t.c.pulled_until).where(t.c.account == account))
        return datetime.fromisoformat(text) if text else None

    def record_pulled(self, account: str, until: datetime) -> None:
        """A tool's account has told everything up to then."""
        row = (account, as_instant(until))
        with self._database.writing() as connection:
            self._database.put(connection, schema.pulls, ("account", "pulled_until"), [row])

    def untold(self, account: str, destination: str) -> list[str]:
        """Who is suppressed by what another destination told, and this account does not know."""
        s, t = schema.suppressions, schema.opt_outs_told
        told = select(t.c.who).where(t.c.account == account)
        query = select(s.c.who).where(
            s.c.reason.in_(sorted(STOPPING)), s.c.source != destination, s.c.who.not_in(told)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(s.c.suppressed_at)))

    def _told(self, account: str, people: Iterable[str]) -> set[str]:
        t = schema.opt_outs_told
        own = select(t.c.who).where(t.c.account == account, t.c.who.in_(list(people)))
        with self._database.reading() as connection:
            return set(connection.scalars(own))

    def record_told(self, account: str, people: Iterable[str]) -> None:
        """This account knows now that these people want nothing more."""
        now = as_instant(self._clock())
        rows = [(account, who, now) for who in people]
        with self._database.writing() as connection:
            self._database.put(
                connection, schema.opt_outs_told, ("account", "who", "told_at"), rows
            )


def _names(fact: Feedback) -> list[str]:
    return [normal(who) for who in (fact.email, fact.contact_id) if who]
