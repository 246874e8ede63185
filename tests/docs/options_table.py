"""The tables of docs/guides/options.md, made from the declared options.

`python -m tests.docs.options_table` writes them into the page, between marks such as `<!-- options: tcp -->`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.meta import tree
from transport.options import COMMON, Option
from transport.transports.registry import OWN, Registry

PAGE = tree.ROOT / "docs" / "guides" / "options.md"
_MARKED = re.compile(r"(<!-- options: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """A table for every scheme, and one for the common options."""
    registry = Registry.default()
    return {"common": table(COMMON), **{scheme: table(registry.find(scheme).options) for scheme in OWN}}


def table(options: Mapping[str, Option]) -> str:
    """Options as rows, in the order of their declaration."""
    rows = ["| option | default | what |", "|---|---|---|"]
    for option in options.values():
        remarks = " (keyword only)" * option.keyword_only + " (secret: refused in URLs)" * option.secret
        rows.append(f"| `{option.name}` | {default(option)} | {option.doc}{remarks} |")
    return "\n".join(rows) + "\n"


def default(option: Option) -> str:
    """The default as a person would write it in a URL."""
    value: Any = option.default
    kind = option.parse.__qualname__.partition(".")[0]
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if option.name == "mode":
        return f"0{value:o}"
    if kind == "duration":
        return f"{value:g}s"
    if kind == "size":
        for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
            if value % unit == 0:
                return f"{value // unit}{name}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def renewed(text: str) -> str:
    """The page's text with its tables as they ought to be. Raises KeyError for a scheme that there is not."""
    made = tables()
    return _MARKED.sub(lambda found: found[1] + made[found[2]] + found[4], text)


def marks(text: str) -> list[str]:
    """Which tables the page has."""
    return [found[1] for found in _MARKED.findall(text)]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
