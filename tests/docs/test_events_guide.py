"""The guide to events names every counter."""

from __future__ import annotations

import re

from tests.meta import tree
from transport.events import dispatch, envelope

GUIDE = (tree.ROOT / "docs" / "guides" / "events.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in tree.files("transport/events"))


def test_every_counter_is_in_the_guide() -> None:
    counted = set(re.findall(r'counters\["(\w+)"\]', SOURCE))
    counted |= {f"failed_{code}" for code in dispatch.KNOWN} | {"failed_by_program", "opened", "resumed"}
    counted |= {f"gaps_{why.name.lower()}" for why in envelope.Why} - {"gaps_denied", "gaps_too_large"}
    counted |= {f"refused_{reason}" for reason in re.findall(r'\.refuse\(\s*"(\w+)"', SOURCE)}
    assert len(counted) > 30
    missing = sorted(name for name in counted if f"`{name}`" not in GUIDE)
    assert not missing
