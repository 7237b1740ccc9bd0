"""A small project with one destination, which also serves every channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from reverse_etl.configuration import load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import SmallProject


@dataclass
class OneTool(SmallProject):
    """``tool`` is the destination's name and type, ``entry`` the rest of its block."""

    tool: str = ""
    entry: dict[str, Any] = field(default_factory=dict)

    def write_destinations(self, sandbox: Sandbox, **changes: Any) -> None:
        """destinations.yml; ``changes`` replace keys of the entry."""
        entry = {"type": self.tool, **self.entry, **changes}
        file = {
            "channels": {"automation": self.tool, "owner_alert": self.tool},
            "destinations": {"dev": {self.tool: entry}},
        }
        (self.root / "destinations.yml").write_text(yaml.safe_dump(file, allow_unicode=True))

    @property
    def destination(self) -> Destination:
        """The tool, with this project's ledger; close it after use."""
        config = load_configuration(self.settings).destinations[self.tool]
        return implementation(self.tool)(config, self.ledger)
