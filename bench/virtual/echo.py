"""KCP's published test for every reliable peer: an echo of 8 bytes every 20 ms, five of each hundred packets lost.

The link, the numbers and the line of kcp's own are those of `bench/scenarios/kcp.py`, which judges; this compares. It
must never leave out an echo that did not come back.
"""

from __future__ import annotations

from array import array
from statistics import median
from time import monotonic, perf_counter
from typing import Any

from bench.scenarios import kcp as published
from bench.scenarios.table import seen
from bench.statistics import summarize_samples
from bench.virtual.conversation import Conversation, PeerFailed
from bench.virtual.grid import Ticked, ms
from bench.virtual.machine import VirtualPeer
from bench.virtual.open_loop import FAIL, NUMBER_BYTES, OK, SETTLE_NS, TAIL
from transport import limits

SECOND = limits.SECOND_NS
HEAD = ["round trips, ms", "average", "p50", "p99", "worst, median", "worst", "packets", "bytes", "s a seed"]
NOTE = (
    "Packets and bytes (with IP and UDP headers) are per echo, both ways. The line of kcp is quoted, not run: its own "
    "test sets nodelay = 2 and rx_minrto, which the Python binding can't. Times are virtual, but for s a seed."
)


class Echo:
    """One seed of one peer: round trips from the first echo to the last.

    Attributes:
        times: ns, in the order of arrival.
        wire: packets and bytes up, packets and bytes down, from the first echo's time to the end of the last's.
        why: what went wrong, or None.
    """

    def __init__(self, seed: int, peer: VirtualPeer) -> None:
        echoes, every = published.ECHOES, published.EVERY_NS
        self.times = array("q")
        talk = Conversation(seed, published.LINK, peer)
        start = talk.network.elapsed_ns // SECOND * SECOND + SECOND
        begin = talk.network.start_ns + start
        rest = bytes(published.SIZE - NUMBER_BYTES)
        returned = bytearray(echoes + TAIL)

        def ask(index: int) -> None:
            def act() -> None:
                if index + 1 < echoes + TAIL:
                    ask(index + 1)
                talk.send(talk.client, index.to_bytes(NUMBER_BYTES, "big") + rest)

            talk.network.at(start + index * every, act)

        def answer(messages: list[bytes], now: int) -> None:
            for message in messages:
                talk.server.machine.send(message, now)

        def take(messages: list[bytes], now: int) -> None:
            for message in messages:
                number = int.from_bytes(message[:NUMBER_BYTES], "big")
                if returned[number]:
                    raise PeerFailed(f"echo {number} came twice")
                returned[number] = 1
                if number < echoes:
                    self.times.append(now - begin - number * every)

        talk.server.on_messages, talk.client.on_messages = answer, take
        ask(0)
        talk.run_to(begin)
        before = talk.wire()
        talk.run_to(begin + echoes * every)
        self.wire = [after - count for after, count in zip(talk.wire(), before, strict=True)]
        talk.run_until(lambda: len(self.times) >= echoes, talk.now + SETTLE_NS)
        missing = echoes - len(self.times)
        self.why = (f"{missing} echoes did not come back" if missing else "") + talk.why() or None


def measure(peer: VirtualPeer, seeds: list[int], tick: Ticked) -> dict[str, Any]:
    """All seeds of one peer, as a cell of the result file."""
    began = perf_counter()
    everything = array("q")
    found: list[Echo] = []
    why: list[str] = []
    for seed in seeds:
        try:
            echo = Echo(seed, peer)
            found.append(echo)
            everything.extend(echo.times)
            if echo.why:
                why.append(f"seed {seed}: {echo.why}")
        except Exception as error:  # a library that raises has failed, and the run goes on
            why.append(f"seed {seed}: {error if isinstance(error, PeerFailed) else repr(error)}")
        tick(f"{peer.name} kcp-test", 1)
    wire = [sum(echo.wire[at] for echo in found) / max(1, len(everything)) for at in range(4)]
    maxima = [max(echo.times) for echo in found if echo.times]
    return {
        "peer": peer.name,
        "seed": seeds[0],
        "seeds": len(seeds),
        "status": FAIL if why else OK,
        "why": "; ".join(why) or None,
        "sent": published.ECHOES * len(seeds),
        "lost": published.ECHOES * len(seeds) - len(everything),
        **summarize_samples(everything),
        "worst_median_ns": median(maxima) if maxima else None,
        "wire_packets": wire[0] + wire[2],
        "wire_bytes": wire[1] + wire[3],
        "wall_s": round(perf_counter() - began, 3),
    }


def row(peer: VirtualPeer, cell: dict[str, Any]) -> list[str]:
    """A peer's line of the table."""
    return [
        peer.title + (" ! FAIL" if cell["status"] == FAIL else ""),
        *(ms(cell.get(name)) for name in ("mean_ns", "p50_ns", "p99_ns", "worst_median_ns", "max_ns")),
        f"{cell['wire_packets']:.2f}",
        f"{cell['wire_bytes']:.0f}",
        f"{cell['wall_s'] / cell['seeds']:.2f}",
    ]


def run(peers: list[VirtualPeer], seeds: list[int], cells: list[dict[str, Any]], tick: Ticked,
        budget_s: float | None = None) -> str | None:  # fmt: skip
    """Runs every peer; whole cells are put into `cells` as they come, see `grid.run`."""
    began = monotonic()
    for peer in peers:
        if budget_s is not None and monotonic() - began >= budget_s:
            return f"{len(cells)} of {len(peers)} peers, for the budget of {budget_s:g} s"
        cells.append(measure(peer, seeds, tick))
    return None


def tables(peers: list[VirtualPeer], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry for `probes` of the result file: those who ran, and kcp's own figures beside them."""
    if not cells:
        return {}
    named = {peer.name: peer for peer in peers}
    rows = [row(named[cell["peer"]], cell) for cell in cells]
    why = [f"FAIL: {cell['peer']}, {cell['why']}." for cell in cells if cell["why"]]
    title = f"KCP's test in virtual time, {cells[0]['seeds']} seeds x {published.ECHOES:,} echoes"
    return {"kcp-test": seen(title, HEAD, [*rows, [*published.THEIRS, ""]], cells, " ".join([NOTE, *why]))}
