"""Whether everything is in order, asked of each part; nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from reverse_etl import rules
from reverse_etl.configuration import Configuration, DestinationConfig, load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.planner import canary
from reverse_etl.rate import Budgets
from reverse_etl.samples import scrubbed_words
from reverse_etl.settings import Settings
from reverse_etl.spec import Sync, load_syncs
from reverse_etl.warehouse import DuckdbWarehouse


@dataclass(frozen=True)
class Finding:
    """One part, and what is wrong with it: nothing where ``problem`` is empty."""

    part: str
    problem: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Configuration, models, warehouse, ledger, and every configured tool with its credentials."""
    try:
        configuration = load_configuration(settings)
        syncs = load_syncs(settings.manifest_path, configuration)
    except UserError as mistake:
        return [Finding("configuration", str(mistake))]
    findings = [Finding("configuration"), _rules(settings), *_models(syncs)]
    syncs = list(_warehouse(settings, syncs, findings))
    findings.append(_asked("ledger", lambda: _ledger(settings)))
    if not findings[-1].problem:
        findings += _destinations(settings, configuration, syncs)
    return findings


def _rules(settings: Settings) -> Finding:
    return _asked("rules", lambda: rules.require_valid(settings.project_root))


def _models(syncs: list[Sync]) -> Iterator[Finding]:
    for sync in syncs:
        yield _asked(f"model {sync.model} for {sync.destination.name}", sync.require_declared_key)


def _warehouse(settings: Settings, syncs: list[Sync], findings: list[Finding]) -> Iterator[Sync]:
    """The syncs with the columns that their models really have."""
    try:
        with DuckdbWarehouse(settings.warehouse_path).open() as reader:
            for sync in syncs:
                with reader.read(sync) as rows:
                    real = tuple(n for n in rows.schema.names if not n.startswith("_"))
                yield replace(sync, columns=real)
        findings.append(Finding("warehouse"))
    except UserError as mistake:
        findings.append(Finding("warehouse", str(mistake)))


def _ledger(settings: Settings) -> None:
    ledger = Ledger(settings.ledger_url, canary=canary())
    try:
        if problems := ledger.problems():
            raise UserError("; ".join(problems))
        if ledger.is_lost():
            raise UserError(
                "It does not know the last runs made here: it was deleted, or an old copy was put "
                "back. Put the right one back, or: reverse-etl approve --lost-ledger"
            )
    finally:
        ledger.close()


def _destinations(
    settings: Settings, configuration: Configuration, syncs: list[Sync]
) -> Iterator[Finding]:
    configs = {sync.destination.name: sync.destination for sync in syncs}
    configs |= dict(configuration.destinations)
    ledger = Ledger(settings.ledger_url)
    try:
        for name, config in sorted(configs.items()):
            own = [sync for sync in syncs if sync.destination.name == name]

            def verify(config: DestinationConfig = config, own: list[Sync] = own) -> None:
                config.require_credentials()
                destination = implementation(config.type)(config, ledger)
                destination.budgets = Budgets(ledger.accounts)
                try:
                    if missing := destination.verify(own):
                        raise UserError("\n".join(missing))
                finally:
                    destination.close()
                    destination.budgets.close()

            yield _asked(f"destination {name}", verify)
    finally:
        ledger.close()


def _asked(part: str, question: Callable[[], None]) -> Finding:
    try:
        question()
    except UserError as mistake:
        return Finding(part, str(mistake))
    except DestinationFault as fault:
        words = scrubbed_words(str(fault))
        return Finding(part, f"{fault.code}: {words}" if fault.code else words)
    return Finding(part)
