"""Options: every parser takes what it says, refuses the rest with a text, and holds its limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits, options
from transport.options import COMMON, SOCKET

KNOWN = {**COMMON, **SOCKET}


def test_every_default_of_the_tables_is_one_that_its_parser_takes() -> None:
    for name, option in {**COMMON, **SOCKET}.items():
        assert name == option.name
        assert option.doc
        if option.default is not None:
            assert option.parse(option.default) == option.default
            assert option.parse(str(option.default)) == option.default


def test_the_largest_and_smallest_of_every_bounded_option() -> None:
    for name, low, high in [
        ("max_message", 1, limits.MESSAGE_BYTES_MAX), ("high_water", 1, limits.WATER_BYTES_MAX),
        ("inbox", 1, limits.WATER_BYTES_MAX), ("channels", 1, limits.CHANNELS_MAX),
        ("channel_window", limits.WINDOW_BYTES_MIN, limits.WINDOW_BYTES_MAX),
        ("rcvbuf", 1, limits.SOCKET_BUFFER_BYTES_MAX), ("dscp", 0, limits.DSCP_MAX),
        ("busy_poll_us", 0, limits.BUSY_POLL_US_MAX), ("backlog", 1, limits.BACKLOG_MAX),
        ("max_connections", 1, limits.CONNECTIONS_MAX), ("idle_timeout", 0.001, limits.TIME_S_MAX),
    ]:  # fmt: skip
        option = KNOWN[name]
        assert option.parse(low) == low
        assert option.parse(high) == high
        for outside in (low - 1, high + 1):
            with pytest.raises(ValueError, match="not"):
                option.parse(outside)


ANY: tuple[object, ...] = (None, True, 1.5, "", "x", b"1", [], math.nan, math.inf, "9" * 400, "1e9999", "\u0661")


@pytest.mark.parametrize(
    ("parser", "good", "bad"),
    [
        (options.integer(-2, 9), {"-2": -2, "+9": 9, 3: 3},
         {*ANY[:6], "9" * 400, 10, -3, "1.0", "1_0", " 1", "\u0661"}),
        (options.size(0, 2**30), {"0": 0, "5b": 5, "64k": 65536, "64KiB": 65536, "1M": 2**20, "1gib": 2**30, 7: 7},
         {*ANY[:6], "-1", -1, "1kB", "1.5k", "2g", "9" * 400, "1 k", "k", "\u0661"}),
        (options.duration(0, 3600), {"20ms": 0.02, "1.5s": 1.5, "1.": 1.0, ".5": 0.5, "250us": 250e-6, "5ns": 5e-9,
         "2min": 120.0, "1h": 3600.0, "0": 0.0, 3: 3.0, 0.5: 0.5},
         {None, "none", True, "", "x", b"1", "-1", -1, "1 s", math.nan, math.inf, "inf", "nan", "1e3", 10**400,
          "9" * 400}),
        (options.duration(0, 1, none=True), {None: None, "none": None, "None": None, "1": 1.0}, {True, "x", "2"}),
        (options.fraction(), {"0.02": 0.02, "2%": 0.02, "1": 1.0, 0: 0.0, "1e-3": 0.001, "1.": 1.0},
         {None, True, "", ".", "x", "1.1", -0.1, 2, math.nan, math.inf, "nan", "1e400", "%", "e5", 10**400}),
        (options.boolean, {"": True, "on": True, "TRUE": True, "1": True, "no": False, "0": False, "Off": False,
         True: True}, {None, 1, 0, "x", b"1"}),
        (options.choice("a", "b"), {"a": "a", "b": "b"}, {"A", "", "c", None, 1}),
        (options.text, {"x": "x", "ü y": "ü y", "a" * 4096: "a" * 4096},
         {"", "a\n", "\x00", b"x", None, 1, "a" * 4097}),
        (options.path, {"/x": "/x", b"/x\xff": "/x\udcff", Path("a/b"): "a/b"}, {"", None, 1, "a\0"}),
        (options.instance(int, bytes), {1: 1, b"x": b"x"}, {"x", None, 1.5}),
    ],
)  # fmt: skip
def test_parsers(parser: options.Parser, good: dict[object, object], bad: set[object]) -> None:
    for value, expected in good.items():
        parsed = parser(value)
        assert parsed == pytest.approx(expected) if isinstance(expected, float) else parsed == expected
        assert type(parsed) is type(expected)
    for value in bad:
        with pytest.raises(ValueError, match=r"\w") as caught:
            parser(value)
        assert len(str(caught.value)) < 200, value


@given(st.text(max_size=12) | st.integers() | st.floats() | st.none() | st.booleans() | st.binary(max_size=4))
@settings(derandomize=True)
def test_a_parser_raises_nothing_but_value_errors(value: object) -> None:
    for option in KNOWN.values():
        try:
            option.parse(value)
        except ValueError:
            continue
