"""Settings and destinations.yml: defaults, variables, and addresses that may not leave."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from reverse_etl import destinations
from reverse_etl.configuration import Configuration, is_loopback, load_configuration
from reverse_etl.errors import UserError
from reverse_etl.settings import Settings

ROOT = Path(__file__).parent.parent


def configured(root: Path, text: str, **environ: str) -> Configuration:
    (root / "destinations.yml").write_text(text)
    environ.setdefault("AS_OF_DATE", "2026-10-28")
    return load_configuration(Settings.from_environment(environ, root))


def one(**entry: object) -> str:
    return yaml.safe_dump({"destinations": {"dev": {"tool": entry}, "prod": {"tool": entry}}})


def test_defaults_lie_in_the_project_whatever_the_working_directory(tmp_path: Path) -> None:
    settings = Settings.from_environment({"AS_OF_DATE": "2026-10-28"}, tmp_path)
    assert settings.warehouse_path == tmp_path / "data/warehouse.duckdb"
    assert settings.ledger_url == f"sqlite:///{tmp_path}/data/ledger.db"
    assert settings.destinations_file == tmp_path / "destinations.yml"
    assert settings.target == "dev"


def test_relative_paths_start_at_the_project_and_absolute_ones_stay(tmp_path: Path) -> None:
    environ = {"AS_OF_DATE": "2026-10-28", "WAREHOUSE_PATH": "x.duckdb"}
    assert Settings.from_environment(environ, tmp_path).warehouse_path == tmp_path / "x.duckdb"
    environ["WAREHOUSE_PATH"] = "/srv/x.duckdb"
    assert Settings.from_environment(environ, tmp_path).warehouse_path == Path("/srv/x.duckdb")


def test_the_environment_wins_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('AS_OF_DATE=2026-01-01\nTOKEN="from file"\nOTHER=o\n')
    settings = Settings.from_environment({"TOKEN": "from environment"}, tmp_path)
    assert settings.as_of_date == date(2026, 1, 1)
    assert settings.environment["TOKEN"] == "from environment"
    assert settings.environment["OTHER"] == "o"


def test_the_day_is_today_in_production_and_the_samples_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "dbt_project").mkdir()
    (tmp_path / "dbt_project/dbt_project.yml").write_text("vars: {sample_as_of_date: 2026-10-28}")
    assert Settings.from_environment({}, tmp_path).as_of_date == date(2026, 10, 28)
    in_production = Settings.from_environment({"DBT_TARGET": "prod"}, tmp_path)
    assert in_production.as_of_date == datetime.now(UTC).date()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "28.10.2026"])
def test_a_day_that_is_none_names_its_variable(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="AS_OF_DATE"):
        Settings.from_environment({"AS_OF_DATE": text}, tmp_path)


def test_without_a_file_every_destination_and_channel_is_an_outbox(tmp_path: Path) -> None:
    settings = Settings.from_environment({"AS_OF_DATE": "2026-10-28"}, tmp_path)
    configuration = load_configuration(settings)
    hubspot, mail = configuration.destination("hubspot"), configuration.serving("email")
    assert hubspot is not None
    assert mail is not None
    assert (hubspot.type, mail.type) == ("outbox", "outbox")


@pytest.mark.parametrize(
    ("url", "stays"),
    [
        ("http://127.0.0.1:8725/hubspot", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("smtp://localhost:25", True),
        ("https://api.hubapi.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1@example.com", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("", False),
    ],
)
def test_only_literal_loopback_addresses_stay_on_this_machine(url: str, stays: bool) -> None:
    assert is_loopback(url) is stays


def test_an_address_off_this_machine_is_for_production_only(tmp_path: Path) -> None:
    text = one(type="hubspot", base_url="https://api.hubapi.com")
    tool = configured(tmp_path, text).destination("tool")
    assert tool is not None
    with pytest.raises(UserError, match=r"destinations.dev.tool.base_url leaves this machine"):
        _ = tool.base_url
    tool = configured(tmp_path, text, DBT_TARGET="prod").destination("tool")
    assert tool is not None
    assert tool.base_url == "https://api.hubapi.com"


def test_an_unset_credential_is_named_when_it_is_asked_for_and_not_before(tmp_path: Path) -> None:
    text = one(type="hubspot", credentials={"access_token": "${NO_SUCH_TOKEN}"})
    tool = configured(tmp_path, text).destination("tool")
    assert tool is not None
    with pytest.raises(UserError) as error:
        tool.credential("access_token")
    for part in (
        "NO_SUCH_TOKEN is not set",
        "destinations.yml: destinations.dev.tool.credentials.access_token",
        ".env",
    ):
        assert part in str(error.value)


def test_variables_have_defaults_and_take_values(tmp_path: Path) -> None:
    text = one(type="hubspot", base_url="http://127.0.0.1:${PORT_X:-8725}/hubspot")
    tool = configured(tmp_path, text).destination("tool")
    assert tool is not None
    assert tool.base_url == "http://127.0.0.1:8725/hubspot"
    tool = configured(tmp_path, text, PORT_X="99").destination("tool")
    assert tool is not None
    assert tool.base_url == "http://127.0.0.1:99/hubspot"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (one(type="hubspott"), ["destinations.dev.tool.type", ", ".join(destinations.names())]),
        (one(type="outbox", url="x"), ["destinations.dev.tool.url"]),
        ("channels: {email: nobody}\ndestinations: {dev: {}}", ["channels.email", "'nobody'"]),
        ("destinations: {prod: {}}", ["no target 'dev'", "prod"]),
        ("destinations: [", ["not readable as YAML"]),
        ("- a", ["destinations.yml"]),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, text: str, told: list[str]) -> None:
    with pytest.raises(UserError) as error:
        configured(tmp_path, text)
    for part in ["destinations.yml", *told]:
        assert part in str(error.value)


def test_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    text = one(type="hubspot", credentials={"access_token": "canary-in-file"})
    configuration = configured(tmp_path, text, HUBSPOT="canary-in-environment")
    assert "canary" not in repr(configuration)


def test_the_projects_own_file_is_valid_for_both_targets(tmp_path: Path) -> None:
    text = (ROOT / "destinations.yml").read_text()
    for target in ("dev", "prod"):
        configuration = configured(tmp_path, text, DBT_TARGET=target)
        assert set(configuration.channels) >= {"email", "automation", "owner_alert", "in_app"}
