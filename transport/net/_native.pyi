"""Says no more than that the compiled module has names: its callers give them types, beside its portable twin."""

from typing import Any

def __getattr__(name: str) -> Any: ...
