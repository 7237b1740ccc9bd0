"""CONTRIBUTING.md says how a destination is added: done here word for word, in a copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.small_project import SmallProject, contacts_sql

PUSH = """
import json, sys
from pathlib import Path
from reverse_etl.engine import Engine
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.settings import Settings

folder = Path(sys.argv[1])
with Sandbox(folder / "sandbox.db") as sandbox:
    port = sandbox.http_url.rpartition(":")[2]
    settings = Settings.from_environment(json.loads(sys.argv[2]) | {"SANDBOX_PORT": port}, folder)
    runs = [[r.as_dict() for r in Engine(settings).apply(["postbox"])] for _ in range(2)]
    print(json.dumps({"runs": runs, "counts": sandbox.counts()["postbox"]}))
"""


def walk_through() -> tuple[list[str], list[str]]:
    """The section's blocks of Python and of YAML."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## Add a destination\n")[2].partition("\n## ")[0]
    python, settings = (
        re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
        for language in ("python", "yaml")
    )
    return python, settings


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with what the walk-through adds."""
    [client, twin], [portal, _] = walk_through()
    root = tmp_path / "copy"
    shutil.copytree(
        ROOT / "reverse_etl", root / "reverse_etl", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "reverse_etl/destinations/postbox.py").write_text(client)
    (root / "reverse_etl/sandbox/postbox.py").write_text(twin)
    with (root / "reverse_etl/sandbox/portal.yml").open("a") as file:
        file.write("\n" + portal)
    return root


def test_a_destination_is_two_files_and_two_blocks(copy: Path, tmp_path: Path) -> None:
    _, [_, block] = walk_through()
    project = SmallProject(tmp_path / "project")
    file = {"destinations": {"dev": yaml.safe_load(block)}}
    (project.root / "destinations.yml").write_text(yaml.safe_dump(file))
    sync = {"kind": "profile", "key": "contact_id", "destinations": ["postbox"]}
    project.model("marts", "contact_profiles", sync, contacts_sql(120))
    project.run("update marts.contact_profiles set email = 'none' where contact_id = 'c_7'")
    done = subprocess.run(
        [sys.executable, "-c", PUSH, str(project.root), json.dumps(project.variables)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(copy)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    [[first], [second]] = told["runs"]
    assert (first["delivered"], first["rejected"], second["planned"]) == (119, 1, 0)
    assert told["counts"] == {"people": 119, "requests": 3, "violations": 0}
    letters = project.ledger.dead_letters("postbox/contact_profiles").to_pylist()
    assert [(one["key"], one["message"]) for one in letters] == [("c_7", "no address")]


def test_what_it_shows_is_in_the_projects_style(copy: Path) -> None:
    files = [str(copy / f"reverse_etl/{where}/postbox.py") for where in ("destinations", "sandbox")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ruff"), *command, *files],
            capture_output=True,
            text=True,
            check=False,
            cwd=copy,
        )
        assert done.returncode == 0, done.stdout
