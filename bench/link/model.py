"""What a link does to packets, as a value: the same for the emulator, for virtual time and for the result file.

Both directions are alike. It must never hold anything that a machine decides: the same link and seed mean the same
losses wherever they are played.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

MTU_MIN, MTU_MAX = 576, 9000
DELAY_MS_MAX = 10_000.0
QUEUE_BYTES_MAX = 1 << 30
RATE_MBIT_MIN, RATE_MBIT_MAX = 0.001, 100_000.0
HOLE_S_MAX = 86_400.0


class BadLink(ValueError):
    """A link that can't be; the text says what is wrong with which word."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link, alike in both directions.

    Args:
        delay_ms: one way, ms.
        jitter_ms: up to so much is added, drawn evenly; what overtakes arrives earlier, unless the rate keeps it in
            order.
        loss: share of packets lost, 0 to 1.
        burst_ms: 0 for independent losses; else nothing passes for stretches of so long on average (exponential), so
            often that the share `loss` of the time is lost. Clocked by time, not by packets: a sender that falls silent
            finds the link good again, and one that sends twice as much meets the same bursts (Gilbert 1960).
        reorder: share of packets that come `reorder_ms` later than the others.
        duplicate, corrupt: share of packets that come twice; of which one byte is changed.
        rate_mbit: bits on the wire a second, in millions, IP headers included; 0 for no limit.
        queue_bytes: what waits for the rate at most, then the newest is dropped; 0 for one bandwidth-delay product, at
            least 64 packets' worth.
        mtu: largest IP packet.
        hole_at_s, hole_s: nothing passes for `hole_s` from `hole_at_s` after the first packet; 0 for no hole.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    burst_ms: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate_mbit: float = 0.0
    queue_bytes: int = 0
    mtu: int = 1500
    hole_at_s: float = 0.0
    hole_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate", "corrupt"):
            if not 0 <= getattr(self, name) < 1:
                raise BadLink(f"{name} is a share from 0 to below 1, not {getattr(self, name)!r}")
        for name in ("delay_ms", "jitter_ms", "reorder_ms", "burst_ms"):
            if not 0 <= getattr(self, name) <= DELAY_MS_MAX:
                raise BadLink(f"{name} is from 0 to {DELAY_MS_MAX:g} ms, not {getattr(self, name)!r}")
        if self.rate_mbit != 0 and not RATE_MBIT_MIN <= self.rate_mbit <= RATE_MBIT_MAX:
            raise BadLink(f"rate is 0 or from {RATE_MBIT_MIN:g} to {RATE_MBIT_MAX:g} Mbit/s, not {self.rate_mbit!r}")
        if not 0 <= self.queue_bytes <= QUEUE_BYTES_MAX:
            raise BadLink(f"queue is from 0 to {QUEUE_BYTES_MAX} bytes, not {self.queue_bytes}")
        for name in ("hole_at_s", "hole_s"):
            if not 0 <= getattr(self, name) <= HOLE_S_MAX:
                raise BadLink(f"{name} is from 0 to {HOLE_S_MAX:g} s, not {getattr(self, name)!r}")
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise BadLink(f"mtu is from {MTU_MIN} to {MTU_MAX}, not {self.mtu}")

    @property
    def queue(self) -> int:
        """Bytes that may wait for the rate; 0 without a rate."""
        if not self.rate_mbit:
            return 0
        product = int(self.rate_mbit * 1e6 / 8 * 2 * self.delay_ms / 1e3)
        return self.queue_bytes or max(product, 64 * self.mtu)

    @property
    def id(self) -> str:
        """Short, for file names and tables' keys: "rtt50-loss2"."""
        return "-".join(f"{word}{value}" for word, value in self._words()) or "plain"

    @property
    def title(self) -> str:
        """For people: "RTT 50 ms, loss 2 %"."""
        names = {"rtt": "RTT {} ms", "jitter": "jitter {} ms", "loss": "loss {} %", "burst": "in bursts of {} ms",
                 "late": "{} % overtaken", "lateby": "by {} ms", "dup": "{} % doubled", "corrupt": "{} % damaged",
                 "rate": "{} Mbit/s", "queue": "queue {} B", "mtu": "MTU {}", "hole": "nothing for {} s",
                 "holeat": "after {} s"}  # fmt: skip
        return ", ".join(names[word].format(value) for word, value in self._words()) or "no delay, no loss"

    def _words(self) -> list[tuple[str, str]]:
        found = [
            ("rtt", 2 * self.delay_ms), ("jitter", self.jitter_ms), ("loss", 100 * self.loss),
            ("burst", self.burst_ms), ("late", 100 * self.reorder), ("lateby", self.reorder_ms),
            ("dup", 100 * self.duplicate), ("corrupt", 100 * self.corrupt), ("rate", self.rate_mbit),
            ("queue", self.queue_bytes), ("mtu", self.mtu if self.mtu != 1500 else 0), ("hole", self.hole_s),
            ("holeat", self.hole_at_s),
        ]  # fmt: skip
        return [(word, f"{value:g}") for word, value in found if value]

    def as_dict(self) -> dict[str, Any]:
        """For the result file and other processes."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Link:
        """The inverse of `as_dict`."""
        return Link(**data)

    @staticmethod
    def parse(text: str) -> Link:
        """Reads "delay=25ms,loss=2%,rate=10mbit,queue=64k,burst=30ms,rtt=50ms,reorder=1%,reorder-by=5ms,mtu=1400".

        Raises:
            BadLink: a word that is none, or a value out of range.
        """
        given: dict[str, Any] = {}
        for part in filter(None, (one.strip() for one in text.split(","))):
            word, equals, value = part.partition("=")
            if not equals or word not in _WORDS:
                raise BadLink(f"{part!r}: a link is made of {', '.join(_WORDS)}, each with '=' and a value")
            field, read, factor = _WORDS[word]
            given[field] = read(word, value) * factor
        return Link(**given)


_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_UNITS_RATE = {"kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}
_UNITS_BYTES = {"": 1, "b": 1, "k": 1024, "kb": 1024, "m": 1024 * 1024, "mb": 1024 * 1024}


def _number(word: str, text: str, units: dict[str, Any]) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        raise BadLink(f"{word}={text}: a number with one of the units {', '.join(filter(None, units))}")
    return float(found[1]) * units[found[2]]


def _ms(word: str, text: str) -> float:
    return float(_number(word, text, _UNITS_MS))


def _seconds(word: str, text: str) -> float:
    return float(_number(word, text, _UNITS_MS)) / 1e3


def _share(word: str, text: str) -> float:
    text = text.strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise BadLink(f"{word}={text}: a share, such as 2% or 0.02") from None


def _rate(word: str, text: str) -> float:
    return float(_number(word, text, _UNITS_RATE))


def _bytes(word: str, text: str) -> int:
    found = _number(word, text, _UNITS_BYTES)
    return int(min(found, QUEUE_BYTES_MAX + 1))  # out of range whatever it is


_WORDS: dict[str, tuple[str, Any, Any]] = {
    "delay": ("delay_ms", _ms, 1), "rtt": ("delay_ms", _ms, 0.5), "jitter": ("jitter_ms", _ms, 1),
    "loss": ("loss", _share, 1), "burst": ("burst_ms", _ms, 1), "reorder": ("reorder", _share, 1),
    "reorder-by": ("reorder_ms", _ms, 1), "duplicate": ("duplicate", _share, 1), "corrupt": ("corrupt", _share, 1),
    "rate": ("rate_mbit", _rate, 1), "queue": ("queue_bytes", _bytes, 1), "mtu": ("mtu", _bytes, 1),
    "hole-at": ("hole_at_s", _seconds, 1), "hole": ("hole_s", _seconds, 1),
}  # fmt: skip
assert {field for field, _, _ in _WORDS.values()} == {field.name for field in fields(Link)}
