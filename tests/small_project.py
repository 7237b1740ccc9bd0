"""A project small enough for a test: a real DuckDB file, a manifest, destinations and a ledger."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import yaml

from reverse_etl.engine import Engine, SyncResult
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Plan
from reverse_etl.push import Retries
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.settings import Settings

PORTAL = "48650001"
SECRET = "whsec_c2FuZGJveC1zZWNyZXQtdGhhdC1pcy1ub3Qtc2VjcmV0"
FAST = Retries(tries=3, first_pause=0.01, longest_pause=15)

CONTACT_PROFILES = {
    "kind": "profile",
    "key": "contact_id",
    "destinations": ["hubspot"],
}
CUSTOMER_PROFILES = {**CONTACT_PROFILES, "key": "customer_id", "object": "customer"}
CHAMPIONS = {
    "kind": "segment",
    "key": "contact_id",
    "destinations": ["hubspot"],
    "list": "Champions",
}
MAILED = {"kind": "trigger", "key": "event_id", "channel": "email", "template": "feature_unused"}
AUTOMATED = {"kind": "trigger", "key": "event_id", "channel": "automation"}
ALERTED = {"kind": "trigger", "key": "event_id", "channel": "owner_alert"}


@dataclass
class SmallProject:
    """A folder with everything one run needs; ``models`` are added one by one."""

    root: Path
    sandbox: Sandbox | None = None
    environment: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))  # as its processes have it
    retries: Retries = FAST

    def __post_init__(self) -> None:
        (self.root / "data").mkdir(parents=True, exist_ok=True)
        (self.root / "pyproject.toml").touch()
        self.run(
            "create schema marts; create schema segments; create schema triggers;"
            " create table triggers.trigger_decisions (event_id varchar, trigger_name varchar,"
            " decision varchar, reason varchar)"
        )
        self.write_manifest()
        if self.sandbox:
            self.write_destinations(self.sandbox)

    @property
    def warehouse(self) -> Path:
        return self.root / "data" / "warehouse.duckdb"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that works on this project."""
        return {
            "WAREHOUSE_PATH": str(self.warehouse),
            "LEDGER_URL": f"sqlite:///{self.root / 'data/ledger.db'}",
            "DESTINATIONS_FILE": str(self.root / "destinations.yml"),
            "DBT_TARGET_PATH": str(self.root / "target"),
            "AS_OF_DATE": "2026-10-28",
            **self.environment,
        }

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.variables, self.root)

    @property
    def engine(self) -> Engine:
        return Engine(self.settings, retries=self.retries, clock=lambda: self.now)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_url, clock=lambda: self.now)

    def run(self, sql: str, *parameters: Any) -> None:
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute(sql, list(parameters) or None)

    def model(self, schema: str, name: str, sync: dict[str, Any], select: str) -> None:
        """Build a model's table and declare it in the manifest."""
        self.run(f"create or replace table {schema}.{name} as {select}")
        self.declare(schema, name, sync)

    def declare(self, schema: str, name: str, sync: Any) -> None:
        self.nodes[f"model.customer_success.{name}"] = {
            "resource_type": "model",
            "name": name,
            "alias": name,
            "schema": schema,
            "original_file_path": f"models/{schema}/{name}.sql",
            "columns": {},
            "config": {"meta": {"sync": sync}},
        }
        self.write_manifest()

    def write_manifest(self) -> None:
        folder = self.root / "target"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"nodes": self.nodes}))

    def write_destinations(self, sandbox: Sandbox, **changes: Any) -> None:
        """destinations.yml for a sandbox; ``changes`` replace keys of one destination."""
        url = sandbox.http_url
        configured: dict[str, Any] = {
            "hubspot": {
                "type": "hubspot",
                "base_url": f"{url}/hubspot",
                "credentials": {"access_token": "${HUBSPOT_ACCESS_TOKEN:-sandbox-token}"},
                "options": {"portal_id": PORTAL},
            },
            "smtp": {
                "type": "smtp",
                "base_url": f"smtp://127.0.0.1:{sandbox.smtp_port}",
                "credentials": {"unsubscribe_key": "a key for tests"},
                "options": {
                    "sender_email": "success@vendor.example",
                    "sender_name": {"en": "Customer Success", "ja": "カスタマーサクセス"},
                    "postal_address": "1 Example Street",
                    "unsubscribe_url": "https://vendor.example/unsubscribe",
                    "mails_per_second": 1000,
                },
            },
            "webhook": {
                "type": "webhook",
                "base_url": f"{url}/webhook/alerts",
                "credentials": {"secret": SECRET},
                "options": {"calls_per_second": 1000},
            },
            "outbox": {"type": "outbox"},
        }
        for name, change in changes.items():
            configured[name] |= change
        file = {
            "channels": {
                "email": "smtp",
                "automation": "hubspot",
                "owner_alert": "webhook",
                "in_app": "outbox",
            },
            "destinations": {"dev": configured},
        }
        (self.root / "destinations.yml").write_text(yaml.safe_dump(file, allow_unicode=True))

    # Models in the shapes of the real project

    def contacts(self, count: int, start: int = 1) -> None:
        self.model("marts", "contact_profiles", CONTACT_PROFILES, contacts_sql(count, start))

    def champions(self, *numbers: int, **sync: Any) -> None:
        listed = ", ".join(map(str, numbers)) or "0"
        self.model(
            "segments",
            "seg_champions",
            CHAMPIONS | sync,
            "select 'c_' || i as contact_id, 'cus_' || i as customer_id,"
            " 'p' || i || '@customer.example' as email, 'uses it daily' as reason,"
            f" case when i % 2 = 0 then 'ja' else 'en' end as language"
            f" from range(1, 10000) as t(i) where i in ({listed})",
        )

    def episodes(self, name: str, sync: dict[str, Any], count: int, decision: str = "send") -> None:
        """Trigger ``name`` with events 1 to count, all decided alike."""
        self.run(  # at once: to open the file takes longer
            f"create or replace table triggers.{name} as {events_sql(name, count)};"
            f" delete from triggers.trigger_decisions where trigger_name = '{name}';"
            " insert into triggers.trigger_decisions (event_id, trigger_name, decision, reason)"
            f" select event_id, '{name}', '{decision}', '' from triggers.{name}"
        )
        self.declare("triggers", name, sync)

    # What happens to them

    def plan(self, *select: str) -> dict[str, Plan]:
        return {plan.sync.id: plan for plan in self.engine.plan(list(select) or None)}

    def apply(self, *select: str) -> dict[str, SyncResult]:
        return {result.sync: result for result in self.engine.apply(list(select) or None)}

    def command(self, *arguments: str) -> list[str]:
        """The command line's process; run it with ``self.process_environment``."""
        return [sys.executable, "-m", "reverse_etl.cli", *arguments]

    @property
    def process_environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        return inherited | self.variables


def contacts_sql(count: int, start: int = 1) -> str:
    return (
        "select 'c_' || i as contact_id, 'p' || i || '@customer.example' as email,"
        " 'First' || i as firstname, '山田' as lastname, 'Operator' as jobtitle,"
        " 'cus_' || i as customer_id, 'Customer ' || i as customer_name,"
        " 'adopting' as journey_stage, 'green' as health_band, 'ja' as preferred_language,"
        " 'operator' as role, i % 2 = 0 as is_champion,"
        " 'csm@vendor.example' as csm_owner_email,"
        " timestamp '2026-10-01 00:00:00' as last_active_at"
        f" from range({start}, {start + count}) as t(i)"
    )


def events_sql(name: str, count: int) -> str:
    who = (
        f"'{name}-' || i as event_id, 'cus_' || i as customer_id,"
        " timestamp '2026-10-27 10:00:00' as occurred_at, 'Customer ' || i as customer_name"
    )
    contact = (
        "'c_' || i as contact_id, 'p' || i || '@customer.example' as email,"
        " case when i % 2 = 0 then 'ja' else 'en' end as language"
    )
    own = {
        "trg_feature_unused": f"{contact}, '山田 花子' as contact_name, 'reports' as feature,"
        " 'Reports' as feature_name, 45 as days_unused",
        "trg_onboarding_low_usage": f"{contact}, 12 as days_since_start, 1 as active_days_7d",
        "trg_health_dropped": "'csm@vendor.example' as owner_email, 'Owner' as owner_name,"
        " 41.50::decimal(5, 2) as health_score, 72.25::decimal(5, 2) as previous_health_score,"
        " 'red' as health_band, 'usage fell' as reason",
    }
    return f"select {who}, {own[name]} from range(1, {count + 1}) as t(i)"
