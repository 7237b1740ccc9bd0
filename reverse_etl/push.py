"""One plan into its destination: intents, batches, retries, halving, and an outcome per row."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from reverse_etl import log
from reverse_etl.clock import Clock, utc_now
from reverse_etl.destinations.base import Destination, Outcome, understood
from reverse_etl.errors import Denied, DestinationFault, NotSent, Refused, Unknown, Unreachable
from reverse_etl.ledger import Intent, Ledger, Settlement, Touched
from reverse_etl.planner import Change, Plan
from reverse_etl.samples import scrubbed

FAILURES_IN_A_ROW = 3
"""So many batches without an answer, and the tool counts as out of order for this run."""


@dataclass(frozen=True)
class Retries:
    """Tries per batch, and the pauses between them: jittered, doubling, in seconds."""

    tries: int = 5
    first_pause: float = 0.5
    longest_pause: float = 30.0

    def around(self, *, repeatable: bool) -> Retrying:
        """Repeats what surely was not taken and, where a repeat does no harm, what is unknown."""

        def is_worth_it(error: BaseException) -> bool:
            if not isinstance(error, NotSent | Unknown):
                return False
            if (error.retry_after or 0) > self.longest_pause:
                return False
            return repeatable or isinstance(error, NotSent)

        return Retrying(
            retry=retry_if_exception(is_worth_it),
            wait=self._pause,
            stop=stop_after_attempt(self.tries),
            reraise=True,
        )

    def _pause(self, state: RetryCallState) -> float:
        jittered = wait_random_exponential(self.first_pause, self.longest_pause)(state)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, DestinationFault) else None
        return max(jittered, asked or 0.0)


@dataclass(frozen=True)
class Progress:
    """How far a sync is, in rows; ``quota`` calls are left to the account today, where known."""

    sync: str
    done: int
    total: int
    seconds: float = 0.0
    quota: int | None = None

    @property
    def rate(self) -> float:
        """Rows a second so far."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds until the end at this rate."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass
class Push:
    """Sends one plan, or a part of one. ``tally`` counts rows by their last status, ``suppressed``
    and ``expired`` among them; ``failure`` says why the push stopped early, if it did, and
    ``is_down`` that no other sync of the destination would fare better."""

    plan: Plan
    destination: Destination
    ledger: Ledger
    run_id: str
    retries: Retries
    progress: Callable[[Progress], None]
    clock: Clock = utc_now
    tally: Counter[str] = field(default_factory=Counter)
    total: int = 0
    failure: str = ""
    is_down: bool = False

    def __post_init__(self) -> None:
        self._sync = self.plan.sync
        self._is_trigger = self._sync.spec.kind == "trigger"
        self._repeatable = self.destination.is_repeatable(self._sync)
        self._mutex = threading.Lock()
        self._failures_in_a_row = self._not_found_in_a_row = 0
        self._started = time.monotonic()

    def run(self) -> None:
        """Send every batch, as many at a time as the destination allows."""
        kind = self._sync.spec.kind
        if self._is_trigger and self.plan.size:
            touched = {change.key: _touched(change) for change in self.plan}
            rows = [(key, action) for key, action, _ in self.plan.identities()]
            self.ledger.plan_deliveries(self.run_id, self._sync.id, rows, touched)
        batches = self.destination.batches(kind, self.plan)
        workers = self.destination.limits(kind).concurrency
        with ThreadPoolExecutor(workers, thread_name_prefix=self._sync.id) as pool:
            running: set[Future[None]] = set()
            for batch in self._until_failure(batches):
                running.add(pool.submit(self._deliver, batch))
                if len(running) >= 2 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()

    def _until_failure(self, batches: Iterator[list[Change]]) -> Iterator[list[Change]]:
        for batch in batches:
            if self.failure:
                return
            yield batch

    def _deliver(self, batch: Sequence[Change]) -> None:
        if not self.failure:
            self._isolate(self._sendable(batch) if self._is_trigger else batch)

    def _sendable(self, batch: Sequence[Change]) -> Sequence[Change]:
        """A trigger's rows without people who opted out since the decision was made, and without
        what has become too late meanwhile."""
        now = self.clock()
        late = [c for c in batch if c.expires_at is not None and c.expires_at <= now]
        suppressed = self.ledger.suppressed({who for change in batch for who in _people(change)})
        stopped = [c for c in batch if c not in late and suppressed.intersection(_people(c))]
        for state, changes in (("expired", late), ("suppressed", stopped)):
            if changes:
                self.ledger.record_unsent(self._sync.id, [c.key for c in changes], state)
                self._count(Counter({state: len(changes)}))
        return [change for change in batch if change not in late and change not in stopped]

    def _isolate(self, batch: Sequence[Change]) -> None:
        """Send a batch; one that is refused as a whole is halved until the bad row stands alone."""
        if not batch or self.failure:
            return
        try:
            for attempt in self.retries.around(repeatable=self._repeatable):
                with attempt:
                    counts = self._attempt(batch, attempt.retry_state.attempt_number)
        except Refused as refused:
            if len(batch) == 1:
                self._count(Counter(rejected=1))
                self._note_refused(refused)
                return
            middle = len(batch) // 2
            self._isolate(batch[:middle])
            self._isolate(batch[middle:])
        except DestinationFault as fault:
            self._count(Counter({_status_of(fault, len(batch)): len(batch)}))
            self._note(fault)
        else:
            self._failures_in_a_row = self._not_found_in_a_row = 0
            self._count(counts)

    def _attempt(self, batch: Sequence[Change], number: int) -> Counter[str]:
        """One request between its intent and its outcome, both in the ledger."""
        rows = [(change.key, change.action, change.fingerprint) for change in batch]
        if self._is_trigger:
            touched = {change.key: _touched(change) for change in batch}
            intents = self.ledger.intend(self.run_id, self._sync.id, rows, number, touched)
        else:
            intents = self.ledger.intend_level(self.run_id, self._sync.id, rows, number)
        try:
            with understood():
                outcomes = {o.key: o for o in self.destination.send(self._sync, batch)}
        except DestinationFault as fault:
            status = _status_of(fault, len(batch))
            words = scrubbed(str(fault), [c.payload for c in batch], self._sync)
            self._settle([Settlement(i, status, fault.code, words) for i in intents])
            log.event(
                "batch failed",
                logging.WARNING,
                sync=self._sync.id,
                rows=len(batch),
                attempt=number,
                outcome=status,
                code=fault.code,
            )
            raise
        settlements = [
            self._settled(intent, change, outcomes.get(intent.key))
            for intent, change in zip(intents, batch, strict=True)
        ]
        self._settle(settlements)
        return Counter(settlement.status for settlement in settlements)

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        if self._is_trigger:
            self.ledger.settle(self._sync.id, settlements, repeatable=self._repeatable)
        else:
            self.ledger.settle_level(self._sync.id, settlements)

    def _note(self, fault: DestinationFault) -> None:
        """Stop when there is no point in going on."""
        with self._mutex:
            self._failures_in_a_row += 1
            pause = fault.retry_after or 0.0
            self.is_down = (
                isinstance(fault, Denied | Unreachable) or pause > self.retries.longest_pause
            )
            if self.is_down or self._failures_in_a_row >= FAILURES_IN_A_ROW:
                words = scrubbed(str(fault), (), self._sync)
                self.failure = f"{fault.code}: {words}" if fault.code else words

    def _note_refused(self, refused: Refused) -> None:
        """What is not found for one row after another is the endpoint, and not a row: stop."""
        with self._mutex:
            self._not_found_in_a_row += refused.code == "404"
            if self._not_found_in_a_row >= FAILURES_IN_A_ROW:
                self.failure = f"404: {scrubbed(str(refused), (), self._sync)}"

    def _count(self, counts: Counter[str]) -> None:
        with self._mutex:
            self.tally.update(counts)
            seconds = time.monotonic() - self._started
            quota = self.destination.budgets.remaining_today(self.destination.account)
            done, total = self.tally.total(), self.total or self.plan.size
            self.progress(Progress(self._sync.id, done, total, seconds, quota))

    def _settled(self, intent: Intent, change: Change, outcome: Outcome | None) -> Settlement:
        if outcome is None:
            return Settlement(intent, "unknown", "silent", "The tool said nothing about this row.")
        words = outcome.message and scrubbed(outcome.message, [change.payload], self._sync)
        return Settlement(intent, outcome.status, outcome.code, words)


def _status_of(fault: DestinationFault, rows: int) -> str:
    if isinstance(fault, Refused):
        return "rejected" if rows == 1 else "retryable"
    return "unknown" if isinstance(fault, Unknown) else "retryable"


def _touched(change: Change) -> Touched:
    customer, contact = (change.payload.get(name) for name in ("customer_id", "contact_id"))
    return Touched(str(customer) if customer else None, str(contact) if contact else None)


def _people(change: Change) -> set[str]:
    """Whom a trigger would reach: e-mail in lower case, and contact_id."""
    names = (change.payload.get("email"), change.payload.get("contact_id"))
    return {str(name).lower() if "@" in str(name) else str(name) for name in names if name}
