"""What every destination is: it declares itself, and turns changes into one outcome per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import ClassVar, Literal, Protocol
from urllib.parse import urlsplit

from reverse_etl import pacing
from reverse_etl.configuration import DestinationConfig
from reverse_etl.errors import Denied, NotSent, Unknown
from reverse_etl.feedback import Feedback, FeedbackKind
from reverse_etl.http import HttpClient, Learn
from reverse_etl.once import Once
from reverse_etl.outcomes import Outcome, Status
from reverse_etl.pieces import by_weight
from reverse_etl.planner import Change, Plan
from reverse_etl.rate import Budgets, RateBudget, Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json

Action = Literal["add", "change", "clear", "archive", "remove"]


@dataclass(frozen=True)
class Limits:
    """What one call may hold, and how calls may follow each other.

    ``batch_bytes`` is measured on the rows' JSON; ``timeout`` is seconds until an answer; ``daily``
    is calls in a day (UTC), None where the tool declares none.
    """

    batch_rows: int = 1
    batch_bytes: int = 1_000_000
    windows: tuple[Window, ...] = ()
    concurrency: int = 1
    timeout: float = 30.0
    daily: int | None = None


@dataclass(frozen=True)
class Person:
    """Whom an erasure or an opt-out is about: our own id, and the address in lower case."""

    contact_id: str
    email: str


class ExternalIds(Protocol):
    """The tool's own ids, remembered between runs by account, object and our key."""

    def external_ids(self, account: str, object_: str, keys: Iterable[str]) -> dict[str, str]: ...

    def remember_external_ids(self, account: str, object_: str, ids: Mapping[str, str]) -> None: ...


class Destination(ABC):
    """One configured tool. Making one neither connects nor asks for a credential."""

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]]
    """What the tool can be asked for, by kind of sync."""
    dedupe_field: ClassVar[str | None] = None
    """The field by which the tool recognises a repeated trigger; None where it has none."""
    lists_hold_keys: ClassVar[bool] = False
    """Membership is all that a list of the tool knows of somebody."""

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        self.config = config
        self.ids = ids
        self.budgets = Budgets()
        """The engine puts the run's own here, so that destinations of one account share a pace."""
        self._clients = Once[HttpClient]()

    @abstractmethod
    def limits(self, kind: Kind) -> Limits:
        """The account's limits for one kind of sync, options considered."""

    @abstractmethod
    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Deliver one batch. Raises a DestinationFault when the batch failed as a whole."""

    def begin(self, sync: Sync, *, baseline: bool) -> None:  # noqa: B027 - most need not know
        """Told before ``check`` of each sync that will be sent. A ``baseline`` is its first run: it
        fills the tool and must start no automation there. Sends nothing."""

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """What these syncs need in the tool and do not find there, each with where to create it.

        Also asks for every credential: raises UserError when one is not set. Writes nothing.
        """
        return []

    def verify(self, syncs: Sequence[Sync]) -> list[str]:
        """As ``check``, for a person who asks whether all is well: also tries what ``check`` leaves
        until something is sent, such as a login. Writes nothing."""
        return self.check(syncs)

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """Remove people from the tool for good; an outcome per contact_id. Somebody the tool does
        not have counts as delivered: they are not there."""
        words = f"A {self.config.type} destination keeps no people."
        return [Outcome(person.contact_id, "delivered", "nothing kept", words) for person in people]

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """Tell the tool that people want no commercial message any more, so that its own campaigns
        stop too; an outcome per contact_id. Never the other way round."""
        words = f"A {self.config.type} destination sends no campaigns of its own."
        return [Outcome(person.contact_id, "delivered", "nothing sent", words) for person in people]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Unsubscribes, bounces, complaints, opens and clicks since an instant, where the tool
        lists them. May tell a fact again."""
        yield from ()

    def receive(self, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
        """The facts in a webhook of the tool's. Raises Denied when its signature is not valid."""
        raise Denied(f"A {self.config.type} destination sends no webhooks.", code="unsigned")

    @property
    def account(self) -> str:
        """Whose memory the ledger keeps: the same tool elsewhere is another account. Ports do not
        count, so that a sandbox may move."""
        host = urlsplit(self.config.base_url).hostname if self.config.url else ""
        return f"{self.config.type}:{host}"

    @property
    def budget(self) -> RateBudget:
        """The account's pace: one for all its syncs, and for all destinations of that account."""
        return self.budget_of("")

    def budget_of(self, part: str, kind: Kind = "profile") -> RateBudget:
        """The pace of a part of the API that has limits of its own, those of ``kind``."""
        limits = self.limits(kind)
        return self.budgets.budget(self.account, part, limits.windows, limits.daily)

    def sent_columns(self, sync: Sync) -> Sequence[str]:
        """The columns that reach the tool: a change in any other is no change."""
        is_membership = self.lists_hold_keys and sync.spec.kind == "segment"
        return [sync.spec.key] if is_membership else sync.columns

    def is_repeatable(self, sync: Sync) -> bool:
        """Whether a row whose outcome is unknown may be sent again."""
        return sync.spec.kind != "trigger" or self.dedupe_field is not None

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """Acknowledged rows (by segment group, "" without one) as the tool itself would count."""
        return {"rows": sum(sum(groups.values()) for groups in counts.values())}

    def client(
        self,
        headers: Mapping[str, str],
        secrets: Sequence[str],
        *,
        part: str = "",
        pace: RateBudget | None = None,
        learn: Learn = pacing.learn,
        url: str | None = None,
        public_only: bool = False,
    ) -> HttpClient:
        """The client of the API, or of a ``part`` of it with a ``pace`` of its own: made once. See
        HttpClient."""

        def made() -> HttpClient:
            return HttpClient(
                url or self.config.base_url,
                pace or self.budget,
                headers=headers,
                secrets=secrets,
                read_seconds=self.limits("profile").timeout,
                learn=learn,
                public_only=public_only,
            )

        return self._clients.of(part, made)

    def close(self) -> None:
        """Let go of connections."""
        for client in self._clients.answers():
            client.close()

    def batches(self, kind: Kind, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """Changes in batches that respect the tool's limits of rows and of bytes."""
        limits = self.limits(kind)
        heaviest = changes.heaviest if isinstance(changes, Plan) else None
        is_light = heaviest is not None and heaviest * limits.batch_rows <= limits.batch_bytes
        remaining = iter(changes)
        while group := list(islice(remaining, limits.batch_rows)):
            # one look at all of them is enough for most, and costs half of a look at each
            needs_weighing = len(group) > 1 and not is_light
            weighs = len(as_json([change.payload for change in group])) if needs_weighing else 0
            if weighs <= limits.batch_bytes:
                yield group
            else:
                yield from by_weight(group, _weight, limits.batch_rows, limits.batch_bytes)


def _weight(change: Change) -> int:
    return len(as_json(change.payload))


__all__ = ["Destination", "Feedback", "FeedbackKind", "Limits", "Outcome", "Person", "Status"]


@contextmanager
def understood() -> Iterator[None]:
    """An answer that lacks what its contract promises says nothing about the rows: raises Unknown.
    Reading it fails in the ways of Python, wherever it is read."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        words = f"The answer is not as the tool's contract says ({type(error).__name__})."
        raise Unknown(words, code="contract") from error


@contextmanager
def before_sending() -> Iterator[None]:
    """A question asked before anything is sent: where its answer cannot be known nothing left, and
    all of it may be repeated. Raises NotSent instead of Unknown."""
    try:
        with understood():
            yield
    except Unknown as unknown:
        raise NotSent(str(unknown), code=unknown.code) from None


def unsupported(destination: Destination, sync: Sync) -> str | None:
    """Why a destination cannot do what a sync asks for; None where it can."""
    spec = sync.spec
    possible = destination.capabilities.get(spec.kind)
    if possible is None:
        return f"a {destination.config.type} destination takes no {spec.kind}"
    wanted: Action = "remove" if spec.kind == "segment" else "add"
    if spec.kind == "profile" and spec.removal != "ignore":
        wanted = spec.removal
    if wanted not in possible:
        return f"a {destination.config.type} destination cannot {wanted} a {spec.kind}'s rows"
    return None
