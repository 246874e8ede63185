"""A link as a value: what can be written down comes back, and what can't be is refused with its name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.link.emulator import arguments_of
from bench.link.model import DELAY_MS_MAX, MTU_MAX, MTU_MIN, BadLink, Link

SHARES = st.integers(0, 999).map(lambda n: n / 1000)
TIMES = st.integers(0, 10_000).map(float)
LINKS = st.builds(
    Link,
    delay_ms=TIMES,
    jitter_ms=TIMES,
    loss=SHARES,
    burst_ms=TIMES,
    reorder=SHARES,
    reorder_ms=TIMES,
    duplicate=SHARES,
    corrupt=SHARES,
    rate_mbit=st.integers(0, 1000).map(float),
    queue_bytes=st.integers(0, 1 << 30),
    mtu=st.integers(MTU_MIN, MTU_MAX),
    hole_at_s=TIMES,
    hole_s=TIMES,
)


@given(LINKS)
def test_a_link_survives_the_result_file(link: Link) -> None:
    assert Link.from_dict(link.as_dict()) == link


@given(LINKS)
def test_a_link_survives_the_command_line(link: Link) -> None:
    text = (
        f"delay={link.delay_ms}ms,jitter={link.jitter_ms}ms,loss={link.loss!r},burst={link.burst_ms}ms,"
        f"reorder={link.reorder!r},reorder-by={link.reorder_ms}ms,duplicate={link.duplicate!r},"
        f"corrupt={link.corrupt!r},rate={link.rate_mbit}mbit,queue={link.queue_bytes}b,mtu={link.mtu},"
        f"hole-at={link.hole_at_s}s,hole={link.hole_s}s"
    )
    assert Link.parse(text) == link


@given(LINKS)
def test_a_link_has_a_name_and_a_title(link: Link) -> None:
    assert link.id.replace("-", "").replace(".", "").replace("e+", "").isalnum()
    assert link.title
    assert (link.id == "plain") == (link.title == "no delay, no loss")


@given(LINKS)
def test_the_router_is_told_whole_numbers_and_shares(link: Link) -> None:
    told = arguments_of(link)
    assert {name for name, value in told.items() if isinstance(value, float)} <= {
        "loss", "reorder", "duplicate", "corrupt"
    }  # fmt: skip
    assert told["delay_ns"] == round(link.delay_ms * 1e6)
    if link.burst_ms and link.loss:
        bad, good = told["bad_ns"], told["good_ns"]
        assert told["loss"] == 0.0, "a burst loses all, and nothing is lost between"
        assert bad / (bad + good) == pytest.approx(link.loss, rel=1e-6)
    else:
        assert told["loss"] == link.loss
        assert told["bad_ns"] == 0


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("", Link()),
        ("rtt=50ms", Link(delay_ms=25)),
        ("delay=250us, loss=2%", Link(delay_ms=0.25, loss=0.02)),
        ("rate=64kbit,queue=4k", Link(rate_mbit=0.064, queue_bytes=4096)),
        ("rate=1gbit,queue=1mb", Link(rate_mbit=1000, queue_bytes=1 << 20)),
        ("delay=1s,hole-at=500ms,hole=2s", Link(delay_ms=1000, hole_at_s=0.5, hole_s=2)),
        ("loss=0.05,burst=30ms", Link(loss=0.05, burst_ms=30)),
        ("reorder=1%,reorder-by=5ms,mtu=1400", Link(reorder=0.01, reorder_ms=5, mtu=1400)),
    ],
)
def test_units(text: str, link: Link) -> None:
    assert Link.parse(text) == link


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("speed=3", "'speed=3': a link is made of delay, rtt"),
        ("loss", "each with '='"),
        ("delay=5", "delay=5: a number with one of the units us, ms, s"),
        ("rate=10mb", "rate=10mb: .* kbit, mbit, gbit"),
        ("loss=lots", "loss=lots: a share, such as 2%"),
        ("loss=100%", "loss is a share from 0 to below 1"),
        ("loss=nan", "loss is a share"),
        ("duplicate=-1%", "duplicate is a share"),
        ("delay=11s", "delay_ms is from 0 to 10000 ms"),
        ("mtu=500", f"mtu is from {MTU_MIN} to {MTU_MAX}"),
        ("queue=2000m", "queue is from 0"),
    ],
)
def test_what_is_no_link_is_named(text: str, match: str) -> None:
    with pytest.raises(BadLink, match=match):
        Link.parse(text)


@pytest.mark.parametrize(
    "field",
    [
        {"loss": 1.0},
        {"delay_ms": DELAY_MS_MAX + 1},
        {"rate_mbit": -1.0},
        {"rate_mbit": 1e-9},
        {"hole_s": -1.0},
        {"mtu": MTU_MAX + 1},
    ],
)
def test_bounds_hold_for_values_too(field: dict[str, Any]) -> None:
    with pytest.raises(BadLink):
        Link(**field)


def test_a_queue_is_one_product_of_rate_and_round_trip_or_64_packets() -> None:
    assert Link(delay_ms=25).queue == 0, "no rate, nothing waits"
    assert Link(delay_ms=50, rate_mbit=100).queue == 1_250_000
    assert Link(delay_ms=1, rate_mbit=1).queue == 64 * 1500
    assert Link(delay_ms=1, rate_mbit=1, queue_bytes=3000).queue == 3000
