"""Examples as modules."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from tests.meta import tree


def load(name: str) -> Any:
    """The module of one example, loaded once."""
    known = f"examples_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, tree.ROOT / "examples" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]
