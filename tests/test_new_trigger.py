"""A trigger is added by its SQL, its description, its playbook row, its templates and its name in
``vars.triggers``, a segment by its SQL, its description and its name in ``vars.segments``: they are
then in the plan, in Dagster, in the docs and in what marketers see."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import ROOT, ProjectCopy
from tests.dbt_run import run_dbt

SEGMENT = "seg_champions_in_japanese"
SQL = """{{ config(meta={"sync": {
    "kind": "trigger", "channel": "email", "key": "event_id", "template": "birthday",
}}) }}
with opened as (
    select
        contacts.customer_id,
        contacts.contact_id,
        '' as subject,
        cast(contacts.created_at as date) as opened_date
    from {{ ref('contacts') }} as contacts
    where {{ is_candidate('cast(contacts.created_at as date)') }}
),
final as (
    select
        identified.event_id, identified.customer_id, identified.contact_id, identified.subject,
        contacts.email, contacts.full_name as contact_name, contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence(["'Known since '", 'identified.opened_date']) }} as reason,
        '' as customer_name
    from {{ episodes('birthday', 'opened') }} as identified
    inner join {{ ref('contacts') }} as contacts on identified.contact_id = contacts.contact_id
)
select * from final
"""
YML = (
    "models: [{name: trg_birthday, description: 'Grain: one episode: a contact came to be known.'}]"
)
PLAYBOOK = (
    "birthday,thanks,contact,email,soft_opt_in,email,marketing,marketing,birthday,shadow,"
    "commercial,10,,retained,90,7,300\n"
)
LISTED = """
import json
from orchestration.definitions import defs
graph = defs().resolve_asset_graph()
print(json.dumps({
    key.to_user_string(): dict(graph.get(key).metadata) if key.path[0] == "syncs" else {}
    for key in graph.get_all_asset_keys()
}, default=str))
"""


CONTACTS = """
insert into marts.contacts (contact_id, customer_id, email, full_name, language, is_champion,
    created_at, time_zone) values
    ('hanako', 'kite', 'hanako@kite.example', '山田 花子', 'ja', true, '2025-01-01', 'UTC'),
    ('adam', 'kite', 'adam@kite.example', 'Adam Example', 'en', true, '2026-10-28', 'UTC');
"""


def segment_of_the_walk_through() -> str:
    """As CONTRIBUTING.md writes it."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add a segment\n")[2]
    [sql] = re.findall(r"```sql\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return str(sql)


@pytest.fixture(scope="module")
def project(project_copy: ProjectCopy) -> ProjectCopy:
    models = project_copy.root / "dbt_project/models/triggers"
    (models / "trg_birthday.sql").write_text(SQL)
    (models / "trg_birthday.yml").write_text(YML)
    with (project_copy.root / "seeds/rules/playbooks.csv").open("a") as file:
        file.write(PLAYBOOK)
    settings = project_copy.root / "dbt_project/dbt_project.yml"
    text = settings.read_text()
    text = text.replace("  triggers:\n", "  triggers:\n    - birthday\n", 1)
    name = SEGMENT.removeprefix("seg_")
    settings.write_text(text.replace("  segments:\n", f"  segments:\n    - {name}\n", 1))
    segments = project_copy.root / "dbt_project/models/segments"
    (segments / f"{SEGMENT}.sql").write_text(segment_of_the_walk_through())
    (segments / f"{SEGMENT}.yml").write_text(
        f"models: [{{name: {SEGMENT}, description: 'Grain: one contact in the segment.'}}]"
    )
    for language in ("en", "ja"):
        template = project_copy.root / f"reverse_etl/templates/birthday.{language}.j2"
        template.write_text(
            f'{{% extends "layout.{language}.j2" %}}{{% block subject %}}Hi{{% endblock %}}'
            "{% block text %}Hi{% endblock %}{% block html %}<p>Hi</p>{% endblock %}"
        )
    return project_copy


def python(project: ProjectCopy, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=project.environment,
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def assets(project: ProjectCopy) -> dict[str, Any]:
    """Metadata of the syncs in Dagster, by their keys; to list them parses the project."""
    listed: dict[str, Any] = json.loads(python(project, "-c", LISTED).splitlines()[-1])
    return listed


@pytest.fixture(scope="module")
def manifest(project: ProjectCopy, assets: dict[str, Any]) -> dict[str, Any]:
    path = project.root / "dbt_project/target/manifest.json"
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def test_it_appears_in_dagster_with_its_playbook(assets: dict[str, Any]) -> None:
    assert "trg_birthday" in {name.rpartition("/")[2] for name in assets}
    assert "thanks" in str(assets["syncs/smtp/trg_birthday"]["playbook/purpose"])
    assert "shadow" in str(assets["syncs/smtp/trg_birthday"]["playbook/state"])


def test_the_segment_appears_in_dagster_under_its_tool(assets: dict[str, Any]) -> None:
    assert {name for name in assets if SEGMENT in name} == {
        f"segments/{SEGMENT}",
        f"syncs/hubspot/{SEGMENT}",
    }


def test_its_rules_hold_and_its_episodes_are_decided(
    project: ProjectCopy, manifest: dict[str, Any]
) -> None:
    checked = "from reverse_etl.rules import require_valid; from pathlib import Path;"
    python(project, "-c", f"{checked} require_valid(Path('.').resolve())")
    parents = manifest["parent_map"]
    for added, unions in (
        ("trg_birthday", ("trigger_episodes", "trigger_decisions", "trigger_members")),
        (SEGMENT, ("segment_members",)),
    ):
        for union in unions:
            assert f"model.customer_success.{added}" in parents[f"model.customer_success.{union}"]
    for exposure, node in (("smtp", "trigger_decisions"), ("hubspot", "segment_members")):
        shown = parents[f"exposure.customer_success.{exposure}"]
        assert f"model.customer_success.{node}" in shown


@pytest.fixture(scope="module")
def built(project: ProjectCopy, manifest: dict[str, Any]) -> ProjectCopy:
    """The two, and what shows them, built by dbt beside empty tables of all other models."""
    warehouse = project.root / "data/warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        for node in manifest["nodes"].values():
            if node["resource_type"] == "model" and (listed := columns(node)):
                connection.execute(f"create schema if not exists {node['schema']}")
                connection.execute(f"create table {node['schema']}.{node['name']} ({listed})")
        connection.execute(CONTACTS)
    unions = [f"{kind}_{what}" for kind in ("segment", "trigger") for what in ("members", "sizes")]
    run_dbt(
        project.root / "dbt_project",
        warehouse,
        *("build", "--exclude-resource-type", "test", "unit_test", "--select"),
        *("resource_type:seed", SEGMENT, "trg_birthday", "trigger_episodes", "trigger_decisions"),
        *(*unions, "segment_overlap", "trigger_overlap"),
    )
    return project


def columns(node: dict[str, Any]) -> str:
    typed = [(c["name"], c["data_type"]) for c in node["columns"].values() if c["data_type"]]
    return ", ".join(f'"{name}" {kind}' for name, kind in typed)


def test_both_appear_in_the_plan(built: ProjectCopy) -> None:
    built.reverse_etl("sandbox", "--detach")
    plans = {plan["sync"]: plan for plan in built.json("plan")}
    assert plans[f"hubspot/{SEGMENT}"]["adds"] == 1
    assert plans["smtp/trg_birthday"]["adds"] == 0, "it is in shadow"
    [sample] = plans[f"hubspot/{SEGMENT}"]["samples"]
    assert sample["key"] == "hanako"


def test_marketers_see_who_is_in_each_and_why(built: ProjectCopy) -> None:
    segment = built.json("show", SEGMENT)
    assert (segment["size"], segment["entered"]) == (1, None)
    [member] = segment["sample"]
    assert member["masked_address"] == "h***@kite.example"
    assert member["reason"] == "Champion, Japanese"
    assert segment["overlap"] == []
    trigger = built.json("show", "birthday")
    assert (trigger["kind"], trigger["size"]) == ("trigger", 1)
    [member] = trigger["sample"]
    assert (member["member_id"], member["reason"]) == ("adam", "Known since 2026-10-28")
    assert "adam@" not in json.dumps(trigger)
    assert trigger["decisions"] == [
        {"decision": member["decision"], "reason": trigger["decisions"][0]["reason"], "members": 1}
    ]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("nobody", "There is no segment or trigger 'nobody'"),
        ("expansion_ready", "say seg_expansion_ready or trg_expansion_ready"),
        ("trg_champions_in_japanese", "champions_in_japanese"),
    ],
)
def test_a_name_that_is_none_or_two_is_told_with_those_there_are(
    built: ProjectCopy, asked: str, told: str
) -> None:
    shown = built.reverse_etl("show", asked)
    assert shown.returncode == 2
    assert told in shown.stderr
    assert "Traceback" not in shown.stderr


def test_they_appear_in_the_docs(project: ProjectCopy, manifest: dict[str, Any]) -> None:
    for name in (SEGMENT, "trg_birthday"):
        # dbt's docs are written from these
        assert manifest["nodes"][f"model.customer_success.{name}"]["description"]
    python(project, "-m", "orchestration.playbooks")
    page = Path(project.root / "dbt_project/models/playbooks_overview.md").read_text()
    assert "[birthday](#!/model/model.customer_success.trg_birthday) | thanks | contact" in page
    assert page.count("\n| [") == 23


def test_without_its_playbook_it_is_a_mistake_with_the_file_to_edit(project: ProjectCopy) -> None:
    path = project.root / "seeds/rules/playbooks.csv"
    text = path.read_text()
    path.write_text(text.replace(PLAYBOOK, ""))
    finished = subprocess.run(
        [sys.executable, "-m", "orchestration.landing"],
        env=project.environment,
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    path.write_text(text)
    assert finished.returncode == 2
    assert "has no row for dbt_project/models/triggers/trg_birthday.sql" in finished.stderr
