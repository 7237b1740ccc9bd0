"""A dbt project of a handful of models with its Dagster graph: real dbt, real DuckDB, an instance
of its own, and the sandbox behind its syncs.

::

    raw_app.people -> stg_people -> contacts -> contact_profiles -> syncs/hubspot/contact_profiles
                                            \\-> seg_first         -> syncs/hubspot/seg_first
                                            \\-> seg_second        -> syncs/hubspot/seg_second
                                            \\-> trg_payment_failed, trigger_decisions
                                                                  -> syncs/webhook/...
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import requests

from orchestration.definitions import build
from orchestration.project import load_project
from reverse_etl import settings as settings_module
from reverse_etl.engine import Engine
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.settings import Settings
from tests.conftest import ROOT
from tests.small_project import SmallProject

FILES = {
    "dbt_project/dbt_project.yml": """
name: customer_success
version: "1.0"
config-version: 2
profile: customer_success
seed-paths: []
test-paths: [data_tests]
flags: {send_anonymous_usage_stats: false}
vars: {sample_as_of_date: "2026-10-28"}
models:
  customer_success:
    +materialized: table
    +group: owners
    staging: {+schema: staging}
    marts: {+schema: marts}
    segments: {+schema: segments}
    triggers: {+schema: triggers}
""",
    "dbt_project/macros/schemas.sql": """
{% macro generate_schema_name(name, node) %}{{ name }}{% endmacro %}
""",
    "dbt_project/models/models.yml": """
groups: [{name: owners, owner: {name: Owners, email: owners@vendor.example}}]
sources:
  - name: raw_app
    config:
      loaded_at_field: _loaded_at
      freshness: {warn_after: {count: 36, period: hour}}
    tables:
      - name: people
        columns:
          - {name: person_id, data_type: varchar}
          - {name: email, data_type: varchar}
          - {name: score, data_type: integer}
          - {name: _loaded_at, data_type: timestamp}
models:
  - name: stg_people
    data_tests:
      - score_at_most: {name: people_are_people, most: 1000}
  - name: contacts
    columns: [{name: contact_id, description: Id of the contact., data_type: varchar}]
    data_tests:
      - score_at_most: {name: contacts_are_in_order, most: 900}
      - score_at_most: {name: contacts_look_usual, most: 150, config: {severity: warn}}
  - name: contact_profiles
  - name: seg_first
    columns: [{name: contact_id}]
  - name: seg_second
    columns: [{name: contact_id}]
    data_tests:
      - score_at_most: {name: second_is_in_order, most: 800}
  - name: trg_payment_failed
  - name: trigger_decisions
""",
    "dbt_project/macros/score_at_most.sql": """
{% test score_at_most(model, most) %}
select * from {{ model }} where score > {{ most }}
{% endtest %}
""",
    "dbt_project/models/staging/stg_people.sql": """
select person_id, email, score, _loaded_at from {{ source('raw_app', 'people') }}
""",
    "dbt_project/models/marts/contacts.sql": """
select person_id as contact_id, 'cus_' || person_id as customer_id, email, score
from {{ ref('stg_people') }}
""",
    "dbt_project/models/marts/contact_profiles.sql": """
{{ config(meta={"sync": {"kind": "profile", "key": "contact_id", "destinations": ["hubspot"]}}) }}
select contact_id, customer_id, email, 'First' as firstname, '山田' as lastname,
    'Operator' as jobtitle, 'Customer' as customer_name, 'adopting' as journey_stage,
    'green' as health_band, 'ja' as preferred_language, 'operator' as role, true as is_champion,
    'csm@vendor.example' as csm_owner_email, timestamp '2026-10-01' as last_active_at
from {{ ref('contacts') }}
""",
    "dbt_project/models/marts/customer_health_history.sql": """
{{ config(materialized="incremental", unique_key=["customer_id", "as_of_date"]) }}
select customer_id, cast('{{ env_var("AS_OF_DATE") }}' as date) as as_of_date,
    'v1' as rules_version, 'healthy' as health_band, score, current_timestamp as published_at
from {{ ref('contacts') }}
""",
    "dbt_project/models/segments/seg_first.sql": """
{{ config(meta={"sync": {"kind": "segment", "key": "contact_id", "destinations": ["hubspot"],
    "list": "First", "budget": {"rows": 12}}}) }}
select contact_id, customer_id, email, score, 'scores' as reason
from {{ ref('contacts') }} where score > 0
""",
    "dbt_project/models/segments/seg_second.sql": """
{{ config(meta={"sync": {"kind": "segment", "key": "contact_id", "destinations": ["hubspot"],
    "list": "Second"}}) }}
select contact_id, customer_id, email, score, 'scores' as reason
from {{ ref('contacts') }} where score > 0
""",
    "dbt_project/models/triggers/trg_payment_failed.sql": """
{{ config(meta={"sync": {"kind": "trigger", "key": "event_id", "channel": "owner_alert"}}) }}
select 'dropped-' || contact_id as event_id, customer_id, timestamp '2026-10-27' as occurred_at,
    'Customer' as customer_name, 'csm@vendor.example' as owner_email, 'Owner' as owner_name,
    41.50::decimal(5, 2) as health_score, 72.25::decimal(5, 2) as previous_health_score,
    'red' as health_band, 'usage fell' as reason, score
from {{ ref('contacts') }} where score > 50
""",
    "dbt_project/models/triggers/trigger_decisions.sql": """
select event_id, 'trg_payment_failed' as trigger_name, 'send' as decision, '' as reason
from {{ ref('trg_payment_failed') }}
""",
}


@dataclass
class SmallGraph:
    """The project in a folder, its definitions and a Dagster instance."""

    root: Path
    sandbox: Sandbox
    instance: dg.DagsterInstance
    people: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(None, self.root)

    def definitions(self) -> dg.Definitions:
        """Anew from the files."""
        return build(load_project(self.settings))

    def know(self, **people: int) -> None:
        """These persons, by name and score, land with the next run; the others stay."""
        for name, score in people.items():
            self.people[name] = (f"{name}@customer.example", score)
        self.write_people()

    def write_people(self) -> None:
        """The file that the loader left."""
        file = self.root / "seeds/raw/app/people.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["person_id", "email", "score", "_loaded_at"])
            for name, (email, score) in self.people.items():
                writer.writerow([name, email, score, "2026-10-28 10:00:00"])

    def run(
        self, job: str = "everything", *keys: Sequence[str], **options: Any
    ) -> dg.ExecuteInProcessResult:
        """A run of a job, or of some of its assets."""
        return (
            self.definitions()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(list(key)) for key in keys] or None,
                **options,
            )
        )

    def sync_alone(self, *path: str, **options: Any) -> dg.ExecuteInProcessResult:
        """One sync, as somebody launches it in the UI."""
        return self.run("everything", path, **options)

    def received(self) -> dict[str, Any]:
        """What the tools hold, as they count it."""
        counts: dict[str, Any] = requests.get(
            f"{self.sandbox.http_url}/_sandbox/counts", timeout=10
        ).json()
        return counts

    def lists(self) -> dict[str, int]:
        """Members of each list."""
        return dict(self.received()["hubspot"]["lists"])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    @property
    def engine(self) -> Engine:
        return Engine(self.settings)


@contextmanager
def small_graph(root: Path, sandbox: Sandbox) -> Iterator[SmallGraph]:
    """A graph in an empty folder; nothing of it is left in the environment."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip())
    shutil.copy2(ROOT / "dbt_project/profiles.yml", root / "dbt_project/profiles.yml")
    for name in ("data", "dbt_project/data_tests", "seeds/rules"):
        (root / name).mkdir(parents=True)
    (root / "instance").mkdir()
    (root / "instance/dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
    )
    (root / "pyproject.toml").touch()
    SmallProject.write_destinations(_Folder(root), sandbox)  # type: ignore[arg-type]
    environment = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_module, "_project_root", lambda: root)
        for name in ("WAREHOUSE_PATH", "AS_OF_DATE", "DBT_TARGET", "DBT_TARGET_PATH"):
            patch.delenv(name, raising=False)
        with dg.DagsterInstance.local_temp(str(root / "instance")) as instance:
            graph = SmallGraph(root, sandbox, instance)
            graph.know(**{f"p{number}": 10 for number in range(1, 11)})
            try:
                yield graph
            finally:
                os.environ.clear()
                os.environ.update(environment)


@dataclass
class _Folder:
    root: Path


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """``<asset>:<check>`` -> whether it passed."""
    return {
        f"{one.asset_key.to_user_string()}:{one.check_name}": one.passed
        for one in result.get_asset_check_evaluations()
    }


def built(result: dg.ExecuteInProcessResult) -> set[str]:
    """Assets that were materialised."""
    return {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Failed steps, and the words of their errors."""
    return {
        str(event.step_key): event.step_failure_data.error.message
        if event.step_failure_data.error
        else ""
        for event in result.get_step_failure_events()
    }
