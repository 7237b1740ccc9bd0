"""Options of a destination, checked where they are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reverse_etl.configuration import DestinationConfig
from reverse_etl.errors import UserError


def needed(config: DestinationConfig, key: str, fix: str = "") -> str:
    """A text that must be there. Raises UserError with the fix where it is not."""
    value = config.option(key)
    if not value:
        raise UserError(f"{config.origin}.options.{key} is missing. {fix}".rstrip())
    return str(value)


def choice(config: DestinationConfig, key: str, default: str, known: Collection[str]) -> str:
    """One of the known texts. Raises UserError for any other."""
    return _known(config, f"options.{key}", str(config.option(key, default)), known)


def tier(config: DestinationConfig, default: str, known: Collection[str]) -> str:
    """The plan's tier. Raises UserError for one that does not exist."""
    return _known(config, "plan_tier", config.plan_tier or default, known)


def unknown(
    config: DestinationConfig, key: str, value: object, known: Collection[str]
) -> UserError:
    """The error for a value that does not exist."""
    return UserError(
        f"{config.origin}.{key} is {value!r}, which does not exist. Known: {', '.join(known)}."
    )


def _known(config: DestinationConfig, key: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise unknown(config, key, value, known)
    return value


def number(config: DestinationConfig, key: str, default: float) -> float:
    """A number above zero. Raises UserError for anything else."""
    value = config.option(key, default)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise UserError(
            f"{config.origin}.options.{key} is {value!r}. Write a number above 0, or leave it out "
            f"for {default:g}."
        )
    return found


def mapping(config: DestinationConfig, key: str) -> dict[str, str]:
    """Texts by text, empty where the option is not written. Raises UserError for anything else."""
    value = config.option(key) or {}
    if not isinstance(value, Mapping):
        raise UserError(f"{config.origin}.options.{key} is {value!r}. Write {{name: value}}.")
    return {str(name): str(found) for name, found in value.items()}
