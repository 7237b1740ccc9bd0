"""destinations.yml: which tools exist for this target, and which of them serves each channel."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reverse_etl import destinations
from reverse_etl.errors import UserError
from reverse_etl.settings import Settings
from reverse_etl.yaml_files import read_yaml

OUTBOX = "outbox"
_ALERTED = ("slack", "smtp", "webhook")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: str
    base_url: str | None = None
    page: str | None = None
    credentials: dict[str, str] = {}
    plan_tier: str | None = None
    options: dict[str, Any] = {}


class _Route(BaseModel):
    model_config = ConfigDict(extra="forbid")
    destination: str
    to: list[str] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    channels: dict[str, str] = {}
    alerts: dict[str, list[_Route]] = {}
    destinations: dict[str, dict[str, _Entry]] = {}


@dataclass(frozen=True)
class DestinationConfig:
    """One configured tool. Values stay as written until asked for: a plan needs no credential."""

    name: str
    type: str
    origin: str
    """Where it is written, as an error names it: file and key."""
    project_root: Path
    url: str | None = None
    page_url: str | None = None
    plan_tier: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    is_production: bool = False

    @property
    def base_url(self) -> str:
        """The tool's address. Raises UserError where it is missing, or leaves this machine while
        the target is not prod."""
        if not self.url:
            raise UserError(f"{self.origin}.base_url is missing. Set it to the tool's address.")
        url = self._filled(self.url, "base_url")
        if not self.is_production and not is_loopback(url):
            raise UserError(
                f"{self.origin}.base_url leaves this machine ({urlsplit(url).hostname}). Only "
                "target prod may: use a loopback address here, or run with DBT_TARGET=prod."
            )
        if url.startswith("http://") and not is_loopback(url):
            raise UserError(
                f"{self.origin}.base_url would send credentials in the clear. Use https://."
            )
        return url.rstrip("/")

    @property
    def page(self) -> str | None:
        """Where a person sees in the tool what arrived; None where nobody wrote it down."""
        return self._filled(self.page_url, "page") if self.page_url else None

    def credential(self, key: str) -> str:
        """A secret by name. Raises UserError naming the variable that is not set."""
        if key not in self.credentials:
            raise UserError(
                f"{self.origin}.credentials.{key} is missing. Add it as "
                f'"${{{key.upper()}}}" and set that variable in .env or the environment.'
            )
        return self._filled(self.credentials[key], f"credentials.{key}")

    def require_credentials(self) -> None:
        """Raise UserError for the first written secret whose variable is not set."""
        for key in self.credentials:
            self.credential(key)

    def option(self, key: str, default: Any = None) -> Any:
        """An option, with variables filled in; ``default`` where it is not written."""
        value = self.options.get(key, default)
        return self._filled(value, f"options.{key}") if isinstance(value, str) else value

    def _filled(self, text: str, key: str) -> str:
        def fill(match: re.Match[str]) -> str:
            value = self.environment.get(match["name"]) or match["default"]
            if value is None:
                raise UserError(
                    f"{match['name']} is not set; {self.origin}.{key} needs it. "
                    "Set it in .env or the environment."
                )
            return value

        return _VARIABLE.sub(fill, text)


@dataclass(frozen=True)
class AlertRoute:
    """Who is told of trouble: everybody in that tool, or these addresses where it is mail."""

    config: DestinationConfig
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """The tools of one target. ``is_default``: no file, so every name means an outbox."""

    settings: Settings
    channels: Mapping[str, str]
    destinations: Mapping[str, DestinationConfig]
    is_default: bool = False
    alerts: tuple[AlertRoute, ...] = ()

    @property
    def file(self) -> str:
        """The file as messages name it."""
        return self.settings.shown(self.settings.destinations_file)

    def destination(self, name: str) -> DestinationConfig | None:
        """The destination of that name, or None where it is not configured."""
        if self.is_default:
            return self._outbox(name)
        return self.destinations.get(name)

    def serving(self, channel: str) -> DestinationConfig | None:
        """The one destination that serves a channel, or None where the channel is not mapped."""
        name = OUTBOX if self.is_default else self.channels.get(channel)
        return None if name is None else self.destination(name)

    def _outbox(self, name: str) -> DestinationConfig:
        return DestinationConfig(
            name, OUTBOX, f"{self.file}: destinations.{name}", self.settings.project_root
        )


def load_configuration(settings: Settings) -> Configuration:
    """Read destinations.yml. Raises UserError for anything that is not as documented there."""
    path = settings.destinations_file
    shown = settings.shown(path)
    if not path.is_file():
        return Configuration(settings, {}, {}, is_default=True)
    try:
        file = _File.model_validate(read_yaml(path.read_text()) or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{shown} is not readable as YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{shown}: {key}: {first['msg']}.") from None
    if settings.target not in file.destinations:
        raise UserError(
            f"{shown}: destinations has no target {settings.target!r} (it has "
            f"{_listed(file.destinations)}). Add it, or set DBT_TARGET to one of them."
        )
    configured = {
        name: _destination(settings, shown, name, entry)
        for name, entry in file.destinations[settings.target].items()
    }
    for channel, name in file.channels.items():
        if name not in configured:
            raise UserError(
                f"{shown}: channels.{channel} names {name!r}, which target {settings.target!r} "
                f"does not configure. Known destinations: {_listed(configured)}."
            )
    routes = _routes(shown, settings.target, file.alerts.get(settings.target, []), configured)
    return Configuration(settings, file.channels, configured, alerts=routes)


def _routes(
    shown: str, target: str, written: list[_Route], configured: Mapping[str, DestinationConfig]
) -> tuple[AlertRoute, ...]:
    found = []
    for position, route in enumerate(written):
        origin = f"{shown}: alerts.{target}[{position}]"
        config = configured.get(route.destination)
        if config is None or config.type not in _ALERTED:
            fit = [name for name, one in configured.items() if one.type in _ALERTED]
            raise UserError(
                f"{origin}.destination is {route.destination!r}, which is no destination of type "
                f"{_listed(_ALERTED)}. Those that are: {_listed(fit)}."
            )
        if (config.type == "smtp") != bool(route.to):
            fix = "Name the addresses" if config.type == "smtp" else "Leave it out: only mail has"
            raise UserError(f"{origin}.to: {fix} to write to.")
        found.append(AlertRoute(config, tuple(route.to)))
    return tuple(found)


def _destination(settings: Settings, shown: str, name: str, entry: _Entry) -> DestinationConfig:
    origin = f"{shown}: destinations.{settings.target}.{name}"
    known = destinations.names()
    if entry.type not in known:
        raise UserError(
            f"{origin}.type is {entry.type!r}, which does not exist. Known types: {_listed(known)}."
        )
    return DestinationConfig(
        name=name,
        type=entry.type,
        origin=origin,
        project_root=settings.project_root,
        url=entry.base_url,
        page_url=entry.page,
        plan_tier=entry.plan_tier,
        options=entry.options,
        credentials=entry.credentials,
        environment=settings.environment,
        is_production=settings.target == "prod",
    )


def is_loopback(url: str) -> bool:
    """Whether an address stays on this machine, read literally: names are never looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
