"""What may be said about a simulated link in a `memory://` URL, and the link that follows from it.

Exists apart from the transport because it is only text and numbers. It must never touch a loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transport import limits
from transport.errors import InvalidURL
from transport.options import Option, boolean, choice, duration, fraction, integer, path_or_none, size, table
from transport.rudp.config import CONGESTION
from transport.sim.config import BurstLoss, LinkConfig

_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kmg]?)(?:bit)?", re.IGNORECASE)
_RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_LONGEST_S = 3600.0
CONTROLLERS = tuple(name for name in CONGESTION if name != "fixed")  # that one needs a rate, which is the link's here


def rate(value: object) -> int:
    """Bits per second: `64kbit`, `10mbit`, `1.5mbit`, or a bare number; units of 1000."""
    if isinstance(value, str) and (found := _RATE.fullmatch(value)):
        value = round(float(found[1]) * _RATE_UNITS[found[2].lower()])
    bits = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if 1 <= bits <= 10**12:
        return bits
    raise ValueError(f"{str(value)[:60]!r} is not a rate in bits per second such as 64kbit or 10mbit")


def windows(value: object) -> tuple[tuple[float, float], ...]:
    """Windows of seconds since the connection began: `10s-12s,20s-20.5s`, or a tuple of (start, end)."""
    parse = duration(0.0, limits.TIME_S_MAX)
    if isinstance(value, str):
        value = [part.split("-") for part in value.split(",")]
    if not isinstance(value, list | tuple) or len(value) > limits.SIM_CHANGES_MAX:
        raise ValueError("write windows of time as 10s-12s,20s-21s")
    found = []
    last = 0.0
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError("write windows of time as 10s-12s,20s-21s")
        start, end = parse(pair[0]), parse(pair[1])
        if not last <= start < end:
            raise ValueError("windows of time have to follow each other, each with its start before its end")
        found.append((start, end))
        last = end
    return tuple(found)


_TIME = duration(0.0, _LONGEST_S)

LINK_OPTIONS: Mapping[str, Option] = table(
    Option("delay", _TIME, "one-way delay", default=0.0),
    Option("jitter", _TIME, "further delay, uniform from 0 to this", default=0.0),
    Option("jitter_reorders", boolean, "jitter lets messages overtake each other", default=False),
    Option("loss", fraction(), "share of messages lost, each for itself", default=0.0),
    Option("burst_good", duration(1e-9, _LONGEST_S), "mean time between bursts of loss"),
    Option("burst_bad", duration(1e-9, _LONGEST_S), "mean length of a burst of loss"),
    Option("burst_loss", fraction(), "share of messages lost in a burst", default=1.0),
    Option("duplicate", fraction(), "share of messages that arrive twice", default=0.0),
    Option("reorder", fraction(), "share of messages that are held back by reorder_delay", default=0.0),
    Option("reorder_delay", duration(1e-9, _LONGEST_S), "how long those are held back", default=0.005),
    Option("corrupt", fraction(), "share of messages in which a bit is flipped", default=0.0),
    Option("rate", rate, "bits per second: 64kbit, 10mbit; none is without limit"),
    Option("queue", size(1, limits.SIM_QUEUE_BYTES), "bytes that wait before the rate", default=limits.SIM_QUEUE_BYTES),
    Option("mtu", integer(1, limits.DATAGRAM_BYTES_MAX), "larger messages are dropped"),
    Option("blackouts", windows, "windows of time since the connection began in which nothing crosses: 10s-12s"),
    Option("seed", integer(0, 2**63 - 1), "of everything random; the simulated loop's own, else 0"),
)  # fmt: skip
"""What may be said about the link. The client's word counts, then the server's."""

OPTIONS: Mapping[str, Option] = {
    **LINK_OPTIONS,
    **table(
        Option("datagrams", boolean, "a message per datagram even where nothing is lost; follows from the link"),
        Option("max_peers", integer(1, limits.UDP_PEERS_LIMIT), "of datagrams: peers of a server at once",
               default=limits.UDP_PEERS_MAX),
        Option("rudp", boolean, "reliable UDP over the link's datagrams: everything that rudp:// promises",
               default=False),
        Option("congestion", choice(*CONTROLLERS), f"of reliable UDP: congestion control: {', '.join(CONTROLLERS)}",
               default=CONGESTION[0]),
        Option("checksum", choice("crc32c", "crc32", "none"),
               "of reliable UDP: of every packet; the default is the same on both builds", default="crc32"),
        Option("redundancy", boolean, "of reliable UDP: small messages of thin streams ride again", default=True),
        Option("cookie", choice("never", "adaptive", "always"),
               "of reliable UDP: when a client has to prove its address first", default="adaptive"),
        Option("qlog", path_or_none, "of reliable UDP: folder for a trace of each connection, or none",
               keyword_only=True),
    ),
}  # fmt: skip


def _ns(options: Mapping[str, Any], name: str, default: float = 0.0) -> int:
    seconds: float = options.get(name, default)
    return round(seconds * limits.SECOND_NS)


def link_config(options: Mapping[str, Any]) -> LinkConfig:
    """The link that options ask for. Raises InvalidURL where they make no sense together."""
    burst = None
    if ("burst_good" in options) != ("burst_bad" in options):
        raise InvalidURL("options 'burst_good' and 'burst_bad' go together")
    if "burst_good" in options:
        burst = BurstLoss(
            good_ns=max(_ns(options, "burst_good"), 1),
            bad_ns=max(_ns(options, "burst_bad"), 1),
            loss_bad=options.get("burst_loss", 1.0),
        )
    return LinkConfig(
        delay_ns=_ns(options, "delay"),
        jitter_ns=_ns(options, "jitter"),
        jitter_reorders=options.get("jitter_reorders", False),
        loss=options.get("loss", 0.0),
        burst=burst,
        duplicate=options.get("duplicate", 0.0),
        reorder=options.get("reorder", 0.0),
        reorder_ns=max(_ns(options, "reorder_delay", 0.005), 1),
        corrupt=options.get("corrupt", 0.0),
        rate_bits_per_s=options.get("rate", 0),
        queue_bytes=options.get("queue", limits.SIM_QUEUE_BYTES),
        mtu=options.get("mtu", 0),
        blackouts=tuple((round(start * limits.SECOND_NS), round(end * limits.SECOND_NS))
                        for start, end in options.get("blackouts", ())),
    )  # fmt: skip


def wants_datagrams(options: Mapping[str, Any], config: LinkConfig) -> bool:
    """Whether options ask for datagrams. Raises InvalidURL when they ask for a byte pipe on a link that is none."""
    asked = options.get("datagrams")
    if asked is False and config.loses:
        raise InvalidURL("option 'datagrams' is false, but this link loses, doubles, alters or reorders")
    if not wants_rudp(options):
        return bool(asked) or config.loses
    if asked is False:
        raise InvalidURL("option 'datagrams' is false, but 'rudp' runs on datagrams")
    if 0 < config.mtu < limits.RUDP_DATAGRAM_BYTES_MIN:
        raise InvalidURL(f"option 'mtu' is below the {limits.RUDP_DATAGRAM_BYTES_MIN} bytes that 'rudp' needs")
    return True


def wants_rudp(options: Mapping[str, Any]) -> bool:
    """Whether options ask for reliable UDP."""
    return bool(options.get("rudp"))
