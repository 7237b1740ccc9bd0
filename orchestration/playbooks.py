"""The playbooks (``seeds/rules/playbooks.csv``) where people look: on a trigger's asset, and on the
first page of the docs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from reverse_etl.errors import UserError
from reverse_etl.rules import FOLDER, require_valid
from reverse_etl.settings import Settings

OVERVIEW = "dbt_project/models/playbooks_overview.md"
"""Written by ``make docs`` and not kept: it says nothing that the CSV does not."""
_SHOWN = ("purpose", "audience", "channel", "legal_basis", "owner", "state", "success_metric")


def read_playbooks(root: Path) -> dict[str, dict[str, str]]:
    """Each trigger's playbook, by the trigger's name; cells as they are written."""
    file = root / FOLDER / "playbooks.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return {row["trigger_name"]: row for row in csv.DictReader(opened)}


def overview(root: Path) -> str:
    """The first page of the docs: every playbook, linked to its trigger."""
    lines = [
        f"| {_link(name)} | {' | '.join(_cell(playbook[column]) for column in _SHOWN)} |"
        for name, playbook in sorted(read_playbooks(root).items())
    ]
    header = f"| trigger | {' | '.join(_SHOWN)} |".replace("_", " ")
    rule = "|---" * (len(_SHOWN) + 1) + "|"
    text = "What each trigger is for, as `seeds/rules/playbooks.csv` says it."
    table = "\n".join([header, rule, *lines])
    return f"{{% docs __overview__ %}}\n# Playbooks\n\n{text}\n\n{table}\n{{% enddocs %}}\n"


def _link(name: str) -> str:
    return f"[{name}](#!/model/model.customer_success.trg_{name})"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("{", "(").replace("}", ")")


def main() -> int:
    """Write the overview for ``dbt docs generate``; the exit code of the process."""
    settings = Settings.from_environment()
    try:
        require_valid(settings.project_root)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    (settings.project_root / OVERVIEW).write_text(overview(settings.project_root), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
