"""One plan into its destination: intents, batches, retries, halving, and an outcome per row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from reverse_etl.destinations.base import Destination, Outcome
from reverse_etl.errors import Denied, DestinationFault, NotSent, Refused, Unknown, Unreachable
from reverse_etl.ledger import Intent, Ledger, Settlement, Touched
from reverse_etl.planner import Change, Plan

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
    """How far a sync is, in rows."""

    sync: str
    done: int
    total: int


@dataclass
class Push:
    """Sends one plan. ``tally`` counts rows by their last status, ``suppressed`` among them;
    ``failure`` says why the push stopped early, if it did, and ``is_down`` that no other sync of
    the destination would fare better."""

    plan: Plan
    destination: Destination
    ledger: Ledger
    run_id: str
    retries: Retries
    progress: Callable[[Progress], None]
    tally: Counter[str] = field(default_factory=Counter)
    failure: str = ""
    is_down: bool = False

    def __post_init__(self) -> None:
        self._sync = self.plan.sync
        self._repeatable = self.destination.is_repeatable(self._sync)
        self._mutex = threading.Lock()
        self._failures_in_a_row = 0

    def run(self) -> None:
        """Send every batch, as many at a time as the destination allows."""
        kind = self._sync.spec.kind
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
            self._isolate(self._contactable(batch))

    def _contactable(self, batch: Sequence[Change]) -> Sequence[Change]:
        """A trigger's rows without people who opted out since the decision was made."""
        if self._sync.spec.kind != "trigger":
            return batch
        suppressed = self.ledger.suppressed({who for change in batch for who in _people(change)})
        stopped = [change for change in batch if suppressed.intersection(_people(change))]
        if stopped:
            self.ledger.record_suppressed(self._sync.id, [change.key for change in stopped])
            self._count(Counter(suppressed=len(stopped)))
        return [change for change in batch if change not in stopped]

    def _isolate(self, batch: Sequence[Change]) -> None:
        """Send a batch; one that is refused as a whole is halved until the bad row stands alone."""
        if not batch or self.failure:
            return
        try:
            for attempt in self.retries.around(repeatable=self._repeatable):
                with attempt:
                    counts = self._attempt(batch, attempt.retry_state.attempt_number)
        except Refused:
            if len(batch) == 1:
                self._count(Counter(rejected=1))
                return
            middle = len(batch) // 2
            self._isolate(batch[:middle])
            self._isolate(batch[middle:])
        except DestinationFault as fault:
            self._count(Counter({_status_of(fault, len(batch)): len(batch)}))
            self._note(fault)
        else:
            self._failures_in_a_row = 0
            self._count(counts)

    def _attempt(self, batch: Sequence[Change], number: int) -> Counter[str]:
        """One request between its intent and its outcome, both in the ledger."""
        rows = [(change.key, change.action, change.fingerprint) for change in batch]
        is_trigger = self._sync.spec.kind == "trigger"
        touched = {change.key: _touched(change) for change in batch if is_trigger}
        intents = self.ledger.intend(self.run_id, self._sync.id, rows, number, touched)
        try:
            outcomes = {o.key: o for o in self.destination.send(self._sync, batch)}
        except DestinationFault as fault:
            status = _status_of(fault, len(batch))
            self._settle([Settlement(i, status, fault.code, str(fault)) for i in intents])
            raise
        settlements = [_settled(intent, outcomes.get(intent.key)) for intent in intents]
        self._settle(settlements)
        return Counter(settlement.status for settlement in settlements)

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        self.ledger.settle(self._sync.id, settlements, repeatable=self._repeatable)

    def _note(self, fault: DestinationFault) -> None:
        """Stop when there is no point in going on."""
        with self._mutex:
            self._failures_in_a_row += 1
            pause = fault.retry_after or 0.0
            self.is_down = (
                isinstance(fault, Denied | Unreachable) or pause > self.retries.longest_pause
            )
            if self.is_down or self._failures_in_a_row >= FAILURES_IN_A_ROW:
                self.failure = f"{fault.code}: {fault}" if fault.code else str(fault)

    def _count(self, counts: Counter[str]) -> None:
        with self._mutex:
            self.tally.update(counts)
            self.progress(Progress(self._sync.id, self.tally.total(), self.plan.size))


def _status_of(fault: DestinationFault, rows: int) -> str:
    if isinstance(fault, Refused):
        return "rejected" if rows == 1 else "retryable"
    return "unknown" if isinstance(fault, Unknown) else "retryable"


def _settled(intent: Intent, outcome: Outcome | None) -> Settlement:
    if outcome is None:
        return Settlement(intent, "unknown", "silent", "The tool said nothing about this row.")
    return Settlement(intent, outcome.status, outcome.code, outcome.message)


def _touched(change: Change) -> Touched:
    customer, contact = (change.payload.get(name) for name in ("customer_id", "contact_id"))
    return Touched(str(customer) if customer else None, str(contact) if contact else None)


def _people(change: Change) -> set[str]:
    """Whom a trigger would reach: e-mail in lower case, and contact_id."""
    names = (change.payload.get("email"), change.payload.get("contact_id"))
    return {str(name).lower() if "@" in str(name) else str(name) for name in names if name}
