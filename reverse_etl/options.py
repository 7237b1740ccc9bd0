"""Options of a destination that are not texts, checked where they are read."""

from __future__ import annotations

from collections.abc import Mapping

from reverse_etl.configuration import DestinationConfig
from reverse_etl.errors import UserError


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
