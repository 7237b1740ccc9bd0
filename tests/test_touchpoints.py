"""What is pushed where stands in three places that must agree: meta.sync, channels, exposures."""

from __future__ import annotations

import re

import yaml

from tests.conftest import ROOT

MODELS = ROOT / "dbt_project/models"
STANDS_FOR = {"segments": "segment_members", "triggers": "trigger_decisions"}


def test_each_destination_has_an_exposure_that_names_the_models_that_sync_to_it() -> None:
    channels = yaml.safe_load((ROOT / "destinations.yml").read_text())["channels"]
    synced: dict[str, set[str]] = {}
    for file in MODELS.rglob("*.sql"):
        text = file.read_text()
        if '"sync"' not in text:
            continue
        listed = re.search(r'"destinations": \[(.*?)\]', text)
        channel = re.search(r'"channel": "(\w+)"', text)
        named = re.findall(r'"(\w+)"', listed[1]) if listed else []
        if channel:
            named.append(channels[channel[1]])
        assert named, f"{file.name} has a sync that names neither destinations nor a channel"
        # segment_members reads every segment and trigger_decisions every trigger (test_dbt_project)
        node = STANDS_FOR.get(file.parent.name, file.stem)
        for destination in named:
            synced.setdefault(destination, set()).add(node)
    exposures = yaml.safe_load((MODELS / "exposures.yml").read_text())["exposures"]
    exposed = {
        exposure["name"]: {re.findall(r"'(\w+)'", ref)[0] for ref in exposure["depends_on"]}
        for exposure in exposures
    }
    assert exposed == synced


def test_every_exposure_says_who_owns_it() -> None:
    for exposure in yaml.safe_load((MODELS / "exposures.yml").read_text())["exposures"]:
        assert exposure["owner"]["name"], exposure["name"]
        assert exposure["owner"]["email"].endswith(".example"), exposure["name"]
