"""KCP by its PyPI binding, the C core of skywind3000/kcp: the clock is an argument, and nothing is random.

KCP sends and acknowledges at the ticks of its own timer, 10 ms apart at the least, unless the program flushes it. Both
ways are here. There is no handshake and no checksum; a message keeps its bounds.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.virtual.machine import Entropy, VirtualMachine, VirtualPeer
from transport import limits

MS = limits.MS_NS
CONVERSATION = 1
TICK_NS = 10 * MS  # the least that ikcp_nodelay takes
WINDOW = 128  # packets, as in KCP's own test
PHASES = 1 << 16


class KcpMachine(VirtualMachine):
    """One KCP control block.

    Args:
        control: made by `Kcp.pair`.
        flushes: flush when the program has had its turn, after a message or a datagram, instead of at the next tick.
        phase_ns: of this end's ticks; two programs don't start at the same instant.
    """

    def __init__(self, control: Any, flushes: bool, phase_ns: int) -> None:
        self.is_open = True
        self._control = control
        self._flushes = flushes
        self._phase_ns = phase_ns
        self._next = 0
        self._wants_flush = False
        self._out: list[bytes] = []
        self._messages: list[bytes] = []
        out = self._out
        control.include_outbound_handler(lambda _control, data: out.append(data))

    def connect(self, now: int) -> None:
        """See `VirtualMachine`."""
        self._next = now + self._phase_ns

    def listen(self, now: int) -> None:
        """See `VirtualMachine`."""
        self.connect(now)

    def send(self, message: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        self._control.update(now // MS)
        self._control.enqueue(message)
        self._wants_flush = self._flushes

    def receive(self, datagram: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        self._control.update(now // MS)  # which sets the clock that round trips are measured by
        self._control.receive(datagram)
        self._messages += map(bytes, self._control.get_all_received())
        self._wants_flush = self._flushes

    def deadline(self) -> int | None:
        """See `VirtualMachine`. KCP's own `check` says "at once" for what the next tick will send, and would spin."""
        return self._next

    def expire(self, now: int) -> None:
        """See `VirtualMachine`."""
        self._control.update(now // MS)
        self._next = now + TICK_NS

    def output(self, now: int) -> list[bytes]:
        """See `VirtualMachine`."""
        if self._wants_flush:
            self._wants_flush = False
            self._control.flush()
        if not self._out:
            return []
        found = self._out.copy()
        self._out.clear()
        return found

    def take(self) -> list[bytes]:
        """See `VirtualMachine`."""
        messages = self._messages
        self._messages = []
        return messages


class Kcp(VirtualPeer):
    """KCP's fast mode, with the flush or without, with its congestion control or without.

    Args:
        name, title: see `Peer`.
        flushes: see `KcpMachine`.
        resend: acknowledgements of later packets after which one counts as lost.
        congestion_control: off in the fast mode.
    """

    modules = ("kcp",)
    distributions = ("kcp",)
    note = (
        "no handshake, no checksum, nothing encrypted; its clock counts whole milliseconds; the binding can't set "
        "nodelay = 2 nor rx_minrto, as KCP's own test does"
    )

    def __init__(self, name: str, title: str, flushes: bool, resend: int = 2, congestion_control: bool = False) -> None:
        self.name = name
        self.title = title
        self.flushes = flushes
        self.resend = resend
        self.congestion_control = congestion_control

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        given = f"1, 10, {self.resend}, {int(not self.congestion_control)}"
        return {
            "ikcp_nodelay": f"{given}; the fast mode of its README is 1, 10, 2, 1",
            "ikcp_wndsize": f"{WINDOW}, {WINDOW}",
            "flush": "after each message and each datagram" if self.flushes else "by its tick of 10 ms",
        }

    def pair(self, entropy: Entropy) -> tuple[VirtualMachine, VirtualMachine]:
        """See `VirtualPeer`."""
        return self._end(entropy, "client"), self._end(entropy, "server")

    def _end(self, entropy: Entropy, name: str) -> KcpMachine:
        import kcp

        control = kcp.KCP(
            CONVERSATION,
            no_delay=True,
            update_interval=TICK_NS // MS,
            resend_count=self.resend,
            no_congestion_control=not self.congestion_control,
            send_window_size=WINDOW,
            receive_window_size=WINDOW,
        )
        phase = int.from_bytes(entropy(name)(2), "big") * TICK_NS // PHASES
        return KcpMachine(control, self.flushes, phase)


PEERS = [
    Kcp("kcp", "KCP, fast mode, by its tick", flushes=False),
    Kcp("kcp-flush", "KCP, fast mode, flushed", flushes=True),
    Kcp("kcp-eager", "KCP, flushed, resend = 1", flushes=True, resend=1),
    Kcp("kcp-cc", "KCP, flushed, cong. control", flushes=True, congestion_control=True),
]
