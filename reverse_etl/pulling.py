"""``reverse-etl pull``: what tools know of people comes back, and who wants nothing more is told to
all other tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from reverse_etl import log
from reverse_etl.clock import Clock, utc_now
from reverse_etl.configuration import Configuration, load_configuration
from reverse_etl.database import in_pieces
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination, Outcome, Person, understood
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.feedback import Kept
from reverse_etl.ledger import Ledger
from reverse_etl.push import Retries
from reverse_etl.rate import Budgets
from reverse_etl.registry import Registry
from reverse_etl.samples import scrubbed_words
from reverse_etl.settings import Settings
from reverse_etl.spec import load_syncs
from reverse_etl.warehouse import connected_to

OVERLAP = timedelta(days=1)
"""Asked for again each time: tools count some facts late. A fact told twice is one."""
FIRST_REACH = timedelta(days=365)
_PEOPLE_A_CALL = 50


@dataclass(frozen=True)
class Pulled:
    """What became of one destination: new facts, people they stopped, and people whose opt-out
    elsewhere it was told; ``error`` where it did not come to its end."""

    destination: str
    new: int = 0
    stopped: int = 0
    told: int = 0
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As ``pull --json`` prints it."""
        return asdict(self)


class Feedbacks:
    """Fetches and passes on. Cheap to make. Raises UserError for what a person can fix."""

    def __init__(
        self, settings: Settings, *, retries: Retries | None = None, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._retries = retries or Retries()
        self._clock = clock

    def pull(self, name: str | None = None, since: datetime | None = None) -> list[Pulled]:
        """Ask one destination, or all that the syncs use, for what is new since it was last asked
        (a year where it never was; ``since`` overrides both). Then each of them is told of who
        opted out, bounced or complained anywhere else. One that fails stops none of the others."""
        configuration = load_configuration(self._settings)
        used = self._used(configuration)
        if name is not None and configuration.destination(name) is None:
            known = ", ".join(sorted(configuration.destinations)) or "none"
            raise UserError(f"{name} is not a destination. Known destinations: {known}.")
        names = sorted({*used, name} if name else used)
        with opened(self._settings, configuration, names, self._clock) as (ledger, destinations):
            asked = [name] if name else names
            found = {one: self._fetch(ledger, destinations[one], since) for one in asked}
            emails = self._emails(ledger, destinations)
            for one in names:
                told, error = self._pass_on(ledger, destinations[one], emails)
                before = found.get(one) or Pulled(one)
                if one in found or told or error:
                    errors = "; ".join(filter(None, (before.error, error)))
                    found[one] = Pulled(one, before.new, before.stopped, told, errors)
        for result in found.values():
            log.event("pulled", **result.as_dict())
        return [found[one] for one in sorted(found)]

    def _used(self, configuration: Configuration) -> set[str]:
        syncs = load_syncs(self._settings.manifest_path, configuration)
        return {sync.destination.name for sync in syncs}

    def _fetch(self, ledger: Ledger, destination: Destination, since: datetime | None) -> Pulled:
        name, account, now = destination.config.name, destination.account, self._clock()
        last = ledger.feedback.pulled_until(account)
        start = since or (last - OVERLAP if last else now - FIRST_REACH)
        kept = Kept()

        def fetch() -> None:
            nonlocal kept
            with understood():
                for some in in_pieces(destination.pull(start), 500):
                    kept += ledger.feedback.keep(name, account, some)

        try:
            destination.config.require_credentials()
            self._retries.around(repeatable=True)(fetch)
        except (DestinationFault, UserError) as fault:
            return Pulled(name, kept.new, kept.stopped, error=_words(fault))
        ledger.feedback.record_pulled(account, now)
        return Pulled(name, kept.new, kept.stopped)

    def _emails(self, ledger: Ledger, destinations: Mapping[str, Destination]) -> dict[str, Person]:
        """Whom the suppressions mean, as far as the warehouse knows them."""
        names = {who for d in destinations.values() for who in _untold(ledger, d)}
        path = self._settings.warehouse_path
        if not names or not path.is_file():
            return {}
        people: dict[str, Person] = {}
        with connected_to(path) as connection:
            registry = Registry(connection)
            for who in names:
                if found := registry.find(who):
                    email = who if "@" in who else next(iter(found.emails), "")
                    people[who] = Person(found.contact_ids[0], email)
        return people

    def _pass_on(
        self, ledger: Ledger, destination: Destination, known: Mapping[str, Person]
    ) -> tuple[int, str]:
        """Tell one destination. What fails is told at the next pull."""
        told = 0
        names: dict[Person, list[str]] = {}
        for who in _untold(ledger, destination):
            person = known.get(who) or _stranger(who)
            if person and person.email:
                names.setdefault(person, []).append(who)
        for some in in_pieces(names, _PEOPLE_A_CALL):
            try:
                destination.config.require_credentials()
                outcomes = self._retries.around(repeatable=True)(_unsubscribed, destination, some)
            except (DestinationFault, UserError) as fault:
                return told, _words(fault)
            pairs = list(zip(some, outcomes, strict=True))
            done = [person for person, outcome in pairs if outcome.status == "delivered"]
            known_there = [who for person in done for who in names[person]]
            ledger.feedback.record_told(destination.account, known_there)
            told += len(done)
            if bad := next((o for o in outcomes if o.status != "delivered"), None):
                return told, f"{bad.code}: {scrubbed_words(bad.message)}"
        return told, ""


@contextmanager
def opened(
    settings: Settings, configuration: Configuration, names: Sequence[str], clock: Clock
) -> Iterator[tuple[Ledger, dict[str, Destination]]]:
    """The ledger and these destinations, sharing their paces; closed afterwards."""
    with ExitStack() as stack:
        ledger = Ledger(settings.ledger_url, clock=clock)
        stack.callback(ledger.close)
        budgets = Budgets(ledger.accounts)
        stack.callback(budgets.close)
        destinations: dict[str, Destination] = {}
        for name in names:
            config = configuration.destination(name)
            if config is not None:
                destinations[name] = implementation(config.type)(config, ledger)
                destinations[name].budgets = budgets
                stack.callback(destinations[name].close)
        yield ledger, destinations


def _untold(ledger: Ledger, destination: Destination) -> list[str]:
    return ledger.feedback.untold(destination.account, destination.config.name)


def _unsubscribed(destination: Destination, people: Sequence[Person]) -> list[Outcome]:
    with understood():
        return destination.unsubscribe(people)


def _stranger(who: str) -> Person | None:
    """Somebody the warehouse does not know has no id but the address."""
    return Person(who, who) if "@" in who else None


def _words(fault: Exception) -> str:
    code = getattr(fault, "code", "")
    words = scrubbed_words(str(fault))
    return f"{code}: {words}" if code else words
