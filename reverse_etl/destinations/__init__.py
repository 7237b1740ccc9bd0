"""One module per kind of tool. A module's name is its ``type`` in destinations.yml."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reverse_etl.destinations.base import Destination


def names() -> list[str]:
    """Every type there is: adding one means adding its file. A file ``<type>_<subject>.py`` is a
    part of that type and none of its own."""
    files = {found.name for found in pkgutil.iter_modules(__path__)} - {"base"}
    parts = {name for name in files if any(name.startswith(f"{other}_") for other in files)}
    return sorted(files - parts)


def implementation(name: str) -> type[Destination]:
    """The class behind a type."""
    from reverse_etl.destinations.base import Destination

    module = import_module(f"{__name__}.{name}")
    for member in vars(module).values():
        if (
            inspect.isclass(member)
            and issubclass(member, Destination)
            and member.__module__ == module.__name__
        ):
            return member
    raise LookupError(f"{module.__name__} defines no Destination")
