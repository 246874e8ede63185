"""Which build of the package is running: its version, compiled or interpreted, and the switch between the two.

`TRANSPORT_PURE=1` in the environment makes every import under `transport.` take the `.py` source, whatever has been
built beside it; modules that exist only in C count as absent. `transport/__init__.py` imports this file before
anything else. It must never print, and must cost nothing when the switch is not set.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and the machinery's classes stay out of the import of the package
    from collections.abc import Sequence
    from importlib.machinery import FileFinder, ModuleSpec
    from types import ModuleType

VERSION = "0.1.0.dev0"
PURE = os.environ.get("TRANSPORT_PURE", "0") not in ("", "0")

_ROOT = os.path.dirname(os.path.abspath(__file__))  # pathlib would cost 5 ms of the import


class SourceFinder:
    """Finds the modules of one package by their source only, never by a compiled file."""

    def __init__(self, package: str) -> None:
        self._prefix = package + "."
        self._finders: dict[str, FileFinder] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Part of the import protocol. Raises ModuleNotFoundError for a module of the package that has no source."""
        if path is None or not name.startswith(self._prefix):
            return None
        for folder in path:
            spec = self._finder(folder).find_spec(name, target)
            if spec is not None and spec.loader is not None:
                return spec
        raise ModuleNotFoundError(f"No module named {name!r} (TRANSPORT_PURE is set: sources only)", name=name)

    def invalidate_caches(self) -> None:
        """Part of the import protocol."""
        for finder in self._finders.values():
            finder.invalidate_caches()

    def _finder(self, folder: str) -> FileFinder:
        from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

        if folder not in self._finders:
            self._finders[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))
        return self._finders[folder]


def built() -> dict[str, bool]:
    """Every module of the build list, and whether a compiled file of it is there."""
    from pathlib import Path

    found: dict[str, bool] = {}
    for pxd in sorted(Path(_ROOT).rglob("*.pxd")):
        with pxd.open(encoding="utf-8") as file:
            if file.readline().startswith("# inline"):
                continue
        name = ".".join(("transport", *pxd.relative_to(_ROOT).with_suffix("").parts))
        found[name] = any(pxd.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
    return found


def modules() -> dict[str, bool]:
    """Every module of the build list, and whether importing it takes a compiled file."""
    return {name: there and not PURE for name, there in built().items()}


def is_compiled() -> bool:
    """True if every module that can be compiled is, and is used."""
    listed = modules()
    return bool(listed) and all(listed.values())


def notice() -> str | None:
    """One line for a person if the package runs interpreted, in part or whole; None if it is compiled."""
    listed = modules()
    if listed and all(listed.values()):
        return None
    why = "TRANSPORT_PURE is set" if PURE else "no compiled modules" if not any(listed.values()) else "partly compiled"
    return f"transport runs interpreted ({why}): everything works, several times slower"


if PURE and not any(isinstance(finder, SourceFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, SourceFinder("transport"))
