"""A team is told once of each change of state, its end too, by the tools that it has."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orchestration.alerts import Trouble, alert_sensor, tell
from orchestration.outcomes import NOT_HELD
from orchestration.project import Project
from orchestration.pushes import sync_key
from reverse_etl.alerts import Alert, Messenger
from reverse_etl.errors import UserError
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import SmallProject

NOBODY: dict[str, Any] = {"open": {}, "verdict": None}
ADDRESS = "operations@vendor.example"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> SmallProject:
    made = SmallProject(tmp_path / "project", sandbox)
    file = made.root / "destinations.yml"
    written = yaml.safe_load(file.read_text())
    written["destinations"]["dev"]["slack"] = {
        "type": "slack",
        "base_url": f"{sandbox.http_url}/slack",
        "credentials": {"token": "xoxb-sandbox"},
        "options": {"channel": "C0000000001"},
    }
    file.write_text(yaml.safe_dump(written, allow_unicode=True))
    route(made, {"destination": "webhook"})
    return made


def route(project: SmallProject, *routes: Mapping[str, Any]) -> None:
    file = project.root / "destinations.yml"
    written = yaml.safe_load(file.read_text()) | {"alerts": {"dev": list(routes)}}
    file.write_text(yaml.safe_dump(written, allow_unicode=True))


def titles(sandbox: Sandbox) -> list[str]:
    """What the webhook's receiver was told, in order."""
    rows = sandbox._store.rows("select body from webhooks order by rowid")
    return [json.loads(row["body"])["data"]["title"] for row in rows]


def test_every_tool_says_it_in_its_own_way(project: SmallProject, sandbox: Sandbox) -> None:
    mail = {"destination": "smtp", "to": [ADDRESS]}
    route(project, {"destination": "webhook"}, {"destination": "slack"}, mail)
    alert = Alert("held:a/b:open:1", "open", "a/b is held", "Over its budget.\nApprove it.")
    assert Messenger(project.settings).send(alert) == []
    assert titles(sandbox) == ["a/b is held"]
    [message] = sandbox._store.rows("select properties from events")
    assert "Over its budget." in message["properties"]
    [posted] = sandbox._store.rows("select raw from mails")
    raw = posted["raw"] if isinstance(posted["raw"], str) else posted["raw"].decode()
    assert "Subject: a/b is held" in raw
    assert f"To: {ADDRESS}" in raw
    assert "Auto-Submitted: auto-generated" in raw


def test_a_change_is_told_once_and_its_end_once(project: SmallProject, sandbox: Sandbox) -> None:
    messenger = Messenger(project.settings)
    now = {"held:a/b": Trouble("a/b is held", since="1")}
    told, _ = tell(messenger, NOBODY, now, None)
    for _ in range(2):
        told, _ = tell(messenger, told, now, None)
    assert titles(sandbox) == ["a/b is held"]
    for _ in range(2):
        told, _ = tell(messenger, told, {}, None)
    assert titles(sandbox) == ["a/b is held", "Over: a/b is held"]
    again = {"held:a/b": Trouble("a/b is held", since="2")}
    tell(messenger, told, again, None)
    assert titles(sandbox)[2:] == ["a/b is held"]


def test_another_verdict_of_the_backtest_is_news(project: SmallProject, sandbox: Sandbox) -> None:
    messenger = Messenger(project.settings)
    told, _ = tell(messenger, NOBODY, {}, "signal")
    told, _ = tell(messenger, told, {}, None)
    assert titles(sandbox) == []
    told, _ = tell(messenger, told, {}, "no signal")
    tell(messenger, told, {}, "no signal")
    assert titles(sandbox) == [
        "The backtest of health says 'no signal'; before it said 'signal'",
    ]


def test_what_reached_nobody_is_told_again_and_a_tool_out_of_order_stops_no_other(
    project: SmallProject, sandbox: Sandbox
) -> None:
    route(project, {"destination": "slack"}, {"destination": "webhook"})
    messenger = Messenger(project.settings)
    now = {"late:raw_app": Trouble("raw_app is late", since="1")}
    sandbox.faults.armed.append(Fault(vendor="slack", kind="status", value=503, times=1))
    told, troubles = tell(messenger, NOBODY, now, None)
    assert len(troubles) == 1
    assert troubles[0].startswith("slack: ")
    assert told["open"] == {}
    told, troubles = tell(messenger, told, now, None)
    assert (troubles, told["open"]) == ([], {"late:raw_app": "raw_app is late"})
    # the receiver knows the repeat by its id
    counts = sandbox.counts()["webhook"]
    assert (counts["received"], counts["duplicates"]) == (1, 1)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"destination": "hubspot"}, "is no destination of type slack, smtp, webhook"),
        ({"destination": "nobody"}, "alerts.dev[0].destination is 'nobody'"),
        ({"destination": "smtp"}, "alerts.dev[0].to: Name the addresses"),
        ({"destination": "slack", "to": [ADDRESS]}, "alerts.dev[0].to: Leave it out"),
    ],
)
def test_a_wrong_line_is_one_clear_error(
    project: SmallProject, written: dict[str, Any], words: str
) -> None:
    route(project, written)
    with pytest.raises(UserError) as error:
        Messenger(project.settings)
    assert words in str(error.value)


@dg.op(config_schema={"fails": bool})
def work(context: dg.OpExecutionContext) -> None:
    """Fails on demand."""
    if context.op_config["fails"]:
        raise ValueError("no")


@dg.job
def nightly() -> None:
    """One op."""
    work()


class Watched:
    """The sensor with an instance, tick by tick."""

    def __init__(self, project: SmallProject, folder: Path) -> None:
        folder.mkdir()
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self.instance = dg.DagsterInstance.local_temp(str(folder))
        self.syncs = project.engine.syncs()
        manifest = {"sources": {}, "nodes": project.nodes}
        made = Project(project.settings, None, manifest)  # type: ignore[arg-type]
        self.sensor = alert_sensor(made, self.syncs)
        self.cursor: str | None = None

    def tick(self) -> str:
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            said = self.sensor(context)
            self.cursor = context.cursor
        return str(said)

    def run(self, *, fails: bool) -> None:
        config = {"ops": {"work": {"config": {"fails": fails}}}}
        nightly.execute_in_process(config, instance=self.instance, raise_on_error=False)

    def hold(self, is_held: bool) -> None:
        key = sync_key(self.syncs[0])

        @dg.asset(key=key, check_specs=[dg.AssetCheckSpec(NOT_HELD, asset=key)])
        def sync() -> Iterator[Any]:
            yield dg.Output(None)
            yield dg.AssetCheckResult(passed=not is_held, description="over its budget")

        dg.materialize([sync], instance=self.instance)


def test_the_sensor_sees_runs_holds_refused_rows_and_calls_that_run_out(
    project: SmallProject, sandbox: Sandbox, tmp_path: Path
) -> None:
    project.contacts(3)
    watched = Watched(project, tmp_path / "instance")
    watched.run(fails=False)
    assert "0 things are wrong" in watched.tick()

    watched.run(fails=True)
    watched.hold(True)
    project.run("update marts.contact_profiles set email = 'no address' where contact_id = 'c_1'")
    [result] = project.apply().values()
    assert result.rejected == 1
    today = datetime.now(UTC).date().isoformat()
    [sync] = watched.syncs
    with project.engine._open(None) as opened:
        account = opened.destinations["hubspot"].account
        opened.ledger.accounts.learn_calls(account, today, 950, 1000)
    assert "4 things are wrong" in watched.tick()
    assert sorted(titles(sandbox)) == [
        "A run of nightly failed",
        "hubspot has few calls left today",
        "hubspot/contact_profiles has refused rows",
        "hubspot/contact_profiles is held",
    ]
    watched.tick()
    assert len(titles(sandbox)) == 4

    watched.run(fails=False)
    watched.hold(False)
    project.engine.dismiss(sync.id, "c_1")
    with project.engine._open(None) as opened:
        opened.ledger.accounts.learn_calls(account, today, 950, 2000)
    watched.tick()
    assert sorted(titles(sandbox)[4:]) == sorted(f"Over: {title}" for title in titles(sandbox)[:4])


def test_where_nobody_is_named_nothing_is_looked_at(
    project: SmallProject, sandbox: Sandbox, tmp_path: Path
) -> None:
    route(project)
    watched = Watched(project, tmp_path / "instance")
    watched.run(fails=True)
    assert "names nobody" in watched.tick()
    assert titles(sandbox) == []
    assert replace(Alert("k", "over", "t")).subject == "Over: t"
