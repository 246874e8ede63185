"""What a result file says about the recorded traffic that was played: enough to know that two runs played the same.

It must never hold a path, an address or a payload: whoever has the trace can repeat the run, whoever reads the result
learns sizes in sum only.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

NAME_CHARS_MAX = 40


@dataclass(frozen=True, slots=True)
class Recorded:
    """One trace and how it is played.

    Args:
        name: of the file, without folders.
        sha256: of the file's bytes, in hex.
        messages, bytes: in the file; sizes as they are sent, so with the raised ones raised.
        smallest, largest: bytes of one message, likewise.
        connections: how many different ones.
        span_s: from the first message to the last, in the file's time.
        raised: how many messages were smaller than the header that each one needs here, and were made that large.
        speed: the file's time runs so many times as fast.
        length_s: what is played, warm-up included, in real time.
        loop: it is repeated, or cut, to reach `length_s`.
    """

    name: str
    sha256: str
    messages: int
    bytes: int
    smallest: int
    largest: int
    connections: int
    span_s: float
    raised: int = 0
    speed: float = 1.0
    length_s: float = 0.0
    loop: bool = False

    @property
    def id(self) -> str:
        """Short, for file names and tables' keys: "calls-1f2e3d4c", "calls-1f2e3d4c-x2-loop60"."""
        stem = re.sub(r"[^A-Za-z0-9_]+", "-", self.name.rsplit(".", 1)[0]).strip("-")[:NAME_CHARS_MAX] or "trace"
        speed = f"-x{self.speed:g}" if self.speed != 1 else ""
        loop = f"-loop{self.length_s:g}" if self.loop else ""
        return f"{stem}-{self.sha256[:8]}{speed}{loop}"

    @property
    def title(self) -> str:
        """For people: "recorded traffic calls.jsonl: 1,200 messages, mean 300 B (16 to 1,400), over 12.5 s"."""
        sizes = f" ({self.smallest:,} to {self.largest:,})" if self.smallest != self.largest else ""
        parts = [f"{self.messages:,} messages", f"mean {self.bytes / self.messages:,.0f} B{sizes}"]
        if self.connections > 1:
            parts.append(f"{self.connections:,} connections")
        parts.append(f"over {self.span_s:.3g} s")
        if self.speed != 1:
            parts.append(f"at {self.speed:g} times the speed")
        if self.loop:
            parts.append(f"{'repeated' if self.length_s > self.span_s / self.speed else 'cut'} to {self.length_s:g} s")
        if self.raised:
            parts.append(f"{self.raised:,} raised to the smallest size")
        return f"recorded traffic {self.name}: {', '.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """For the result file and for the worker processes."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Recorded:
        """The inverse of `as_dict`."""
        return Recorded(**data)
