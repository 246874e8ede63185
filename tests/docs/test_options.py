"""The tables of options say what the code says: every scheme, every option, its default and its text."""

from __future__ import annotations

import re

from tests.docs import options_table
from transport.options import Option

TEXT = options_table.PAGE.read_text(encoding="utf-8")


def test_every_scheme_has_its_table() -> None:
    assert options_table.marks(TEXT) == list(options_table.tables())


def test_tables_are_up_to_date() -> None:
    """Otherwise: python -m tests.docs.options_table."""
    assert options_table.renewed(TEXT) == TEXT


def test_a_forgotten_option_would_be_seen() -> None:
    without = re.sub(r"^\| `nodelay` .*\n", "", TEXT, flags=re.MULTILINE)
    assert without != TEXT
    assert options_table.renewed(without) == TEXT


def test_a_secret_shows() -> None:
    assert "(secret: refused in URLs)" in options_table.table({"password": Option("password", str, "x", secret=True)})
    assert "`password`" in TEXT


def test_names_in_the_text_exist() -> None:
    """What the page names in its prose is an option, too."""
    known = {name for table in options_table.tables().values() for name in re.findall(r"^\| `(\w+)`", table, re.M)}
    prose = options_table._MARKED.sub("", TEXT)
    assert set(re.findall(r"`(\w+)=", prose)) - {"sock", "codec", "framing"} <= known
