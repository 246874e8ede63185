"""Values on the command line."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from transport import options
from transport.tools import units


@pytest.mark.parametrize(
    ("text", "value"),
    [("5s", 5.0), ("250ms", 0.25), ("2min", 120.0), ("64k", 65_536), ("1000", 1000), ("1MiB", 1 << 20)],
)
def test_time_or_size(text: str, value: Any) -> None:
    found = units.time_or_size(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["0", "-1", "5x", "", "0s", "s"])
def test_neither(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        units.time_or_size(text)


def test_a_spelling_is_kept_beside_its_value() -> None:
    assert units.spelled(options.fraction())("5%") == ("5%", 0.05)


def test_argparse_gets_the_text_of_the_mistake() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 20ms"):
        units.seconds("soon")
