"""A client in Node acknowledges as often as its peer asks, as docs/protocol.md says."""

from __future__ import annotations

from typing import Any

from tests.examples.node.running import needs_node, through
from tests.rudp.by_hand import varints

pytestmark = needs_node

ASKS = (b"\x06" + varints(5)).hex()  # a limit that is lower than what holds: it asks for an ack, and does nothing
PING = "01"


def policy(number: int, threshold: int, delay_us: int = 5000, reordering: int = 1) -> str:
    return (b"\x04" + varints(number, threshold, delay_us, reordering)).hex()


def answered(policies: list[str], each: list[str]) -> list[bool]:
    """Which of some packets are acknowledged at once, by a client that has these policies."""
    answer: dict[str, Any] = through("act.js", [{"packets": policies, "each": each}])[0]
    assert answer["code"] is None
    found: list[bool] = answer["answered"]
    return found


def test_every_other_packet_unless_it_was_asked_otherwise() -> None:
    assert answered([ASKS], [ASKS] * 6) == [False, True] * 3


def test_as_often_as_it_was_asked() -> None:
    assert answered([policy(0, 4)], [ASKS] * 8) == [False, False, False, True] * 2
    assert answered([policy(0, 1)], [ASKS] * 3) == [True] * 3


def test_the_newest_policy_holds() -> None:
    assert answered([policy(5, 4), policy(2, 2), policy(5, 3)], [ASKS] * 4) == [False, False, False, True]


def test_at_least_every_64th() -> None:
    assert answered([policy((1 << 62) - 1, (1 << 62) - 1, (1 << 62) - 1)], [ASKS] * 64) == [False] * 63 + [True]


def test_a_ping_is_answered_at_once_all_the_same() -> None:
    assert answered([policy(0, 64)], [ASKS, PING, ASKS]) == [False, True, False]
