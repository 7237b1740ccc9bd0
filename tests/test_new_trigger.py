"""A trigger is added by its SQL, its description, its playbook row, its templates and its name in
``vars.triggers``: it is then in the plan, in Dagster and in the docs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ProjectCopy

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


@pytest.fixture(scope="module")
def project(project_copy: ProjectCopy) -> ProjectCopy:
    models = project_copy.root / "dbt_project/models/triggers"
    (models / "trg_birthday.sql").write_text(SQL)
    (models / "trg_birthday.yml").write_text(YML)
    with (project_copy.root / "seeds/rules/playbooks.csv").open("a") as file:
        file.write(PLAYBOOK)
    settings = project_copy.root / "dbt_project/dbt_project.yml"
    text = settings.read_text()
    settings.write_text(text.replace("  triggers:\n", "  triggers:\n    - birthday\n", 1))
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


def test_it_appears_in_dagster_with_its_playbook(project: ProjectCopy) -> None:
    assets = json.loads(python(project, "-c", LISTED).splitlines()[-1])
    assert "trg_birthday" in {name.rpartition("/")[2] for name in assets}
    assert "thanks" in str(assets["syncs/smtp/trg_birthday"]["playbook/purpose"])
    assert "shadow" in str(assets["syncs/smtp/trg_birthday"]["playbook/state"])


def test_its_rules_hold_and_its_episodes_are_decided(project: ProjectCopy) -> None:
    checked = "from reverse_etl.rules import require_valid; from pathlib import Path;"
    python(project, "-c", f"{checked} require_valid(Path('.').resolve())")
    manifest = json.loads((project.root / "dbt_project/target/manifest.json").read_text())
    parents = manifest["parent_map"]
    for model in ("trigger_episodes", "trigger_decisions"):
        assert "model.customer_success.trg_birthday" in parents[f"model.customer_success.{model}"]


def test_it_appears_in_the_docs(project: ProjectCopy) -> None:
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
