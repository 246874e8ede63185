"""Scenarios of the soak: what two or more endpoints, their links and their applications do, all of it from one seed.

A scenario is a frozen value that can be printed, compared and reduced: a failure is searched for its smallest part by
leaving out actions and impairments, and what is left over is named on a command line. Only `random()` is drawn from,
so that a seed means the same on every Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from transport import limits
from transport.rudp.config import RudpConfig
from transport.sim.config import BurstLoss, LinkConfig
from transport.sim.seeds import stream

T = TypeVar("T")
MS, SECOND = limits.MS_NS, limits.SECOND_NS
KIB = limits.KIB
MESSAGE_MAX = 400 * KIB
UNIQUE_BYTES = 8  # a smaller message never expires: nobody could tell which of two equal ones did
ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = 0, 1, 2, 3
ENDINGS = ("client", "client", "server", "server", "both", "both", "early", "early both", "abort", "vanish")
IMPAIRMENTS = ("loss", "burst", "duplicate", "reorder", "jitter", "corrupt", "rate", "holes", "widths", "blackouts",
               "delay", "skew", "lag", "moves")  # fmt: skip
"""What `--without` may name."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an application does.

    Args:
        kind: "send", "stream", "ping" or "mute".
        at_ns: when, since the start of the network.
        end: who: twice the number of the connection, and 1 more for its server's end.
        channel, delivery, size, priority, copies: of a message; `size` also of a stream.
        span_ns: after which a message expires (0: never), or for which a channel is not read.
    """

    kind: str
    at_ns: int
    end: int
    channel: int = 0
    delivery: int = 0
    size: int = 0
    priority: int = 0
    span_ns: int = 0
    copies: int = -1


@dataclass(frozen=True, slots=True)
class Side:
    """An endpoint: what it is configured with, how its clock is off, and how long its process does something else
    after each wake-up.
    """

    config: RudpConfig
    offset_ns: int = 0
    skew_ppm: int = 0
    lag_ns: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything of one run.

    Args:
        seed: of the network.
        server, clients: endpoints, one server.
        connections: the client of each; several may belong to one.
        links: to and from the server, of each client, until `heal_ns`.
        holes: (client, direction, start, end, mtu): for a while larger datagrams fall into a hole.
        widths: (client, direction, start, mtu): what a link carries from then on.
        heal_ns: when all links are well again.
        actions: in order of time.
        ending, ending_ns: how it ends, and when where that is before all has arrived.
        moves: (client, when, another host, ns): its address changes, and the old one leads to it for so long.
    """

    seed: int
    server: Side
    clients: tuple[Side, ...]
    connections: tuple[int, ...]
    links: tuple[tuple[LinkConfig, LinkConfig], ...]
    holes: tuple[tuple[int, int, int, int, int], ...]
    widths: tuple[tuple[int, int, int, int], ...]
    heal_ns: int
    actions: tuple[Action, ...]
    ending: str
    ending_ns: int
    moves: tuple[tuple[int, int, bool, int], ...] = ()

    def lines(self) -> list[str]:
        """The scenario in words, for whoever has to understand a failure."""
        found = [f"seed {self.seed}: {len(self.connections)} connections of {len(self.clients)} clients, "
                 f"links heal at {self.heal_ns} ns, ending {self.ending!r} at {self.ending_ns} ns"]  # fmt: skip
        for name, side in (("server", self.server), *((f"client {i}", side) for i, side in enumerate(self.clients))):
            plain = RudpConfig()
            changed = [f"{field}={getattr(side.config, field)}" for field in RudpConfig.__slots__
                       if getattr(side.config, field) != getattr(plain, field)]  # fmt: skip
            found.append(
                f"  {name}: {' '.join(changed)} offset {side.offset_ns} skew {side.skew_ppm} lag {side.lag_ns}"
            )
        for number, pair in enumerate(self.links):
            for direction, link in zip(("to", "from"), pair, strict=True):
                found.append(f"  {direction} server, client {number}: {_shown(link)}")
        found += [f"  hole: client {c}, direction {d}, {a / SECOND:.3f} to {b / SECOND:.3f} s, {mtu} bytes"
                  for c, d, a, b, mtu in self.holes]  # fmt: skip
        found += [f"  client {c} gets another {'host' if is_host else 'port'} at {at / SECOND:.3f} s, the old one "
                  f"lasts {keep / SECOND:.3f} s" for c, at, is_host, keep in self.moves]  # fmt: skip
        found += [f"  width: client {c}, direction {d}, from {a / SECOND:.3f} s, {mtu} bytes"
                  for c, d, a, mtu in self.widths]  # fmt: skip
        return found

    def size(self) -> int:
        """Payload bytes in all."""
        return sum(action.size for action in self.actions)


def _shown(link: LinkConfig) -> str:
    plain = LinkConfig()
    return " ".join(f"{name}={getattr(link, name)}" for name in LinkConfig.__slots__
                    if getattr(link, name) != getattr(plain, name)) or "perfect"  # fmt: skip


class Dice:
    """Draws by `random()` alone."""

    def __init__(self, seed: int, *names: object) -> None:
        self._draw = stream(seed, "soak", *names).random

    def chance(self, share: float) -> bool:
        return self._draw() < share

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._draw() * (high - low + 1))

    def scaled(self, low: int, high: int) -> int:
        """The same, each power of two as likely as the next."""
        bits = self.between(max(low, 1).bit_length(), high.bit_length())
        return min(high, max(low, self.between(1 << (bits - 1), (1 << bits) - 1)))

    def share(self, high: float) -> float:
        """A probability up to `high`, small ones as likely as large."""
        return high * self.scaled(1, 1024) / 1024

    def pick(self, values: Sequence[T]) -> T:
        return values[self.between(0, len(values) - 1)]


def generate(seed: int, scale: int = 1) -> Scenario:
    """The scenario of a seed; `scale` multiplies how much is sent."""
    dice = Dice(seed, "shape")
    heal = dice.between(2000, 12_000) * MS
    client_count = dice.pick((1, 1, 1, 1, 2, 3))
    connections = list(range(client_count))
    if dice.chance(0.15):
        connections.append(0)
    checksums = dice.pick((2, 2, 2, 6, 6, 3))
    links = tuple(_pair(Dice(seed, "link", number), Dice(seed, "ecn", number), heal, checksums & 1)
                  for number in range(client_count))  # fmt: skip
    holes = tuple(_hole(dice, client_count, heal) for _ in range(dice.between(1, 3))) if dice.chance(0.2) else ()
    widths = _widths(Dice(seed, "widths"), client_count, heal)
    server = _searching(Dice(seed, "server mtu"), _side(Dice(seed, "server"), checksums))
    clients = tuple(_searching(Dice(seed, "client mtu", number), _side(Dice(seed, "client", number), checksums))
                    for number in range(client_count))  # fmt: skip
    channels = min(side.config.channels for side in (server, *clients))
    actions = _actions(Dice(seed, "traffic"), len(connections), channels, heal, scale)
    ending = dice.pick(ENDINGS)
    at = dice.between(heal // 2, heal + heal // 4)
    moves = _moves(Dice(seed, "moves"), client_count, heal)
    fast = Dice(seed, "fast")
    if fast.chance(0.08):
        links, clients, actions = _fast(fast, links, clients, actions, heal)
    roaming = {move[0] for move in moves}
    clients = tuple(_speaking(side) if i in roaming else side for i, side in enumerate(clients))
    return Scenario(seed, server, clients, tuple(connections), links, holes, widths, heal, actions, ending, at, moves)


def _fast(
    dice: Dice, links: tuple[tuple[LinkConfig, LinkConfig], ...], clients: tuple[Side, ...],
    actions: tuple[Action, ...], heal: int,
) -> tuple[tuple[tuple[LinkConfig, LinkConfig], ...], tuple[Side, ...], tuple[Action, ...]]:  # fmt: skip
    """The first client sends so many packets a second that it asks for fewer acks, and the way back may lose them."""
    there = LinkConfig(delay_ns=dice.pick((2, 5, 10)) * MS, loss=dice.pick((0.0, 0.0, 0.002)))
    back = LinkConfig(delay_ns=there.delay_ns, loss=dice.pick((0.0, 0.02, 0.3)))
    config = replace(clients[0].config, congestion=dice.pick(("none", "cubic")), mtu=1200, mtu_max=1200)
    at = dice.between(0, heal // 2)
    bulk = tuple(Action("send", at, 0, 0, UNORDERED, dice.between(50 * KIB, MESSAGE_MAX)) for _ in range(40))
    return ((there, back), *links[1:]), (Side(config), *clients[1:]), tuple(
        sorted((*actions, *bulk), key=lambda action: action.at_ns)
    )  # fmt: skip


def _moves(dice: Dice, clients: int, heal: int) -> tuple[tuple[int, int, bool, int], ...]:
    if not dice.chance(0.25):
        return ()
    return tuple((dice.between(0, clients - 1), dice.between(0, heal), dice.chance(0.4),
                  dice.pick((0, 0, 50 * MS, SECOND))) for _ in range(dice.scaled(1, 16)))  # fmt: skip


def _speaking(side: Side) -> Side:
    """A client whose address changes says something now and then: a server can't find it by itself."""
    return replace(side, config=replace(side.config, keepalive_ns=6 * SECOND))


def _side(dice: Dice, checksums: int) -> Side:
    start = dice.pick((4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 256 * KIB))
    channel_window = MESSAGE_MAX + limits.MIB
    congestion = dice.pick(("cubic", "cubic", "cubic", "newreno", "bbr", "bbr", "fixed", "none"))
    config = RudpConfig(
        max_message=MESSAGE_MAX,
        channels=dice.pick((2, 5, 256, 256)),
        channel_window=channel_window,
        connection_window=dice.pick((1, 2, 8)) * channel_window,
        start_window=start,
        stream_window=dice.pick((8 * KIB, 64 * KIB, limits.MIB)),
        keepalive_ns=dice.pick((0, 6, 15, 15)) * SECOND,
        idle_ns=dice.pick((60, 90)) * SECOND,
        handshake_ns=dice.pick((10, 120, 120, 120)) * SECOND,
        congestion=congestion,
        rate=dice.scaled(20_000, 10_000_000) if congestion == "fixed" else 0,
        checksums=checksums,
        mtu=dice.pick((1200, 1200, 1200, 1300, 1452, 4096, 9000)),
        redundancy=dice.chance(0.7),
        skips=dice.chance(0.8),
        cookie=dice.pick(("never", "adaptive", "always")),
    )
    offset = dice.between(0, 4000) * SECOND + dice.between(0, SECOND) if dice.chance(0.3) else 0
    skew = dice.pick((-100_000, -300, -20, 20, 300, 100_000)) if dice.chance(0.3) else 0
    lag = dice.scaled(10_000, 60 * MS) if dice.chance(0.2) else 0
    return Side(config, offset, skew, lag)


def _searching(dice: Dice, side: Side) -> Side:
    """Half of the sides search for their paths' MTU."""
    if dice.chance(0.5):
        return side
    mtu = dice.pick((1200, 1200, 1200, side.config.mtu))
    most = dice.pick((1472, 9000, 65_000, 65_000))
    taken = dice.pick((1200, 1500, 16_000, 65_000, 65_000, 65_000))
    return replace(side, config=replace(side.config, mtu=mtu, mtu_max=most, max_datagram=taken))


def _marking(dice: Dice, link: LinkConfig) -> LinkConfig:
    """A queue that marks before it drops, or a link that wipes marks."""
    if link.rate_bits_per_s and dice.chance(0.5):
        link = replace(link, ecn_mark_bytes=dice.scaled(0, link.queue_bytes))
    return replace(link, ecn_clear=dice.chance(0.1))


def _widths(dice: Dice, clients: int, heal: int) -> tuple[tuple[int, int, int, int], ...]:
    """What links carry, and when that changes."""
    found: list[tuple[int, int, int, int]] = []
    if dice.chance(0.5):
        return ()
    for client in range(clients):
        for direction in range(2):
            at = 0
            while at < heal and len(found) < 20:
                found.append((client, direction, at, dice.pick((1200, 1200, 1280, 1350, 1472, 1500, 4096, 9000, 0))))
                at += dice.between(heal // 8, heal)
    return tuple(found)


def _pair(dice: Dice, ecn: Dice, heal: int, is_unchecked: int) -> tuple[LinkConfig, LinkConfig]:
    delay = dice.pick((0, 50_000, MS, 5 * MS, 20 * MS, 20 * MS, 50 * MS, 100 * MS, 300 * MS, 1000 * MS))
    share = dice.pick((0.0, 0.2, 0.4, 0.7))
    one, other = (_link(dice, delay, heal, is_unchecked, share) for _ in range(2))
    if dice.chance(0.2):  # both ways at once
        other = replace(other, blackouts=one.blackouts)
    return _marking(ecn, one), _marking(ecn, other)


def _link(dice: Dice, delay: int, heal: int, is_unchecked: int, share: float) -> LinkConfig:
    link = LinkConfig(delay_ns=delay)
    if dice.chance(share):
        link = replace(link, loss=dice.share(0.5))
    if dice.chance(share / 2):
        burst = BurstLoss(good_ns=dice.scaled(50 * MS, 5 * SECOND), bad_ns=dice.scaled(5 * MS, 500 * MS),
                          loss_bad=0.5 + dice.share(0.5))  # fmt: skip
        link = replace(link, burst=burst)
    if dice.chance(share):
        link = replace(link, duplicate=dice.share(0.5))
    if dice.chance(share):
        link = replace(link, reorder=dice.share(0.5), reorder_ns=dice.scaled(10_000, 200 * MS))
    if dice.chance(share):
        link = replace(link, jitter_ns=dice.scaled(1000, 100 * MS), jitter_reorders=dice.chance(0.5))
    if dice.chance(share) and not is_unchecked:
        link = replace(link, corrupt=dice.share(0.3), corrupt_bits=dice.pick((1, 1, 2, 9)))
    if dice.chance(share):
        link = replace(link, rate_bits_per_s=dice.scaled(64_000, 100_000_000), overhead_bytes=28,
                       queue_bytes=dice.scaled(12_000, 256 * KIB))  # fmt: skip
    if dice.chance(share / 2):
        link = replace(link, blackouts=_blackouts(dice, heal))
    return link


def _blackouts(dice: Dice, heal: int) -> tuple[tuple[int, int], ...]:
    found = []
    at = 0
    for _ in range(dice.between(1, 3)):
        start = at + dice.between(0, heal // 2)
        at = start + dice.scaled(MS, 3 * SECOND)
        if at < heal:
            found.append((start, at))
    return tuple(found)


def _hole(dice: Dice, clients: int, heal: int) -> tuple[int, int, int, int, int]:
    start = dice.between(0, heal)
    end = min(heal, start + dice.scaled(MS, 3 * SECOND))
    return dice.between(0, clients - 1), dice.between(0, 1), start, end, dice.between(100, 1199)


def _actions(dice: Dice, connections: int, channels: int, heal: int, scale: int) -> tuple[Action, ...]:
    found: list[Action] = []
    budget = dice.scaled(128 * KIB, 32 * limits.MIB) * scale
    for _ in range(dice.between(3, 40)):
        flow = _flow(dice, connections, channels, heal, budget)
        found += flow
        budget -= sum(action.size + 30 for action in flow)
        if budget <= 0:
            break
    while dice.chance(0.4):
        kind = dice.pick(("ping", "mute", "stream"))
        size = dice.scaled(0, 128 * KIB) if kind == "stream" else 0
        end = dice.between(0, 2 * connections - 1)
        found.append(Action(kind, dice.between(0, heal), end, dice.between(0, min(channels, 4) - 1), size=size,
                            span_ns=dice.between(0, heal)))  # fmt: skip
    found.sort(key=lambda action: action.at_ns)
    return tuple(found)


def _flow(dice: Dice, connections: int, channels: int, heal: int, budget: int) -> list[Action]:
    """Messages of one lane of one connection: thin, in bursts, or bulk."""
    end = dice.between(0, 2 * connections - 1)
    channel = dice.pick((0, 0, 1, channels - 1))
    delivery = dice.pick((ORDERED, ORDERED, UNORDERED, SEQUENCED, UNRELIABLE))
    shape = dice.pick(("thin", "thin", "burst", "burst", "bulk", "mixed"))
    at = dice.between(0, heal * 3 // 4) if dice.chance(0.7) else 0
    every = dice.scaled(100_000, 100 * MS) if shape in ("thin", "mixed") else 0
    largest = {"thin": 256, "burst": 1500, "bulk": MESSAGE_MAX, "mixed": 40_000}[shape]
    count = dice.scaled(1, {"thin": 2000, "burst": 1000, "bulk": 10, "mixed": 400}[shape])
    urgent = dice.chance(0.3)
    expires = dice.scaled(MS, 4 * SECOND) if dice.chance(0.25) else 0
    copies = dice.between(0, 8) if dice.chance(0.15) else -1
    found = []
    for _ in range(count):
        size = min(dice.scaled(0, largest) if dice.chance(0.95) else 0, 60_000 if delivery >= SEQUENCED else largest)
        found.append(Action("send", min(at, heal + SECOND), end, channel, delivery, size,
                            dice.between(limits.PRIORITY_MIN, limits.PRIORITY_MAX) if urgent else 0,
                            expires if size >= UNIQUE_BYTES and dice.chance(0.7) else 0, copies))  # fmt: skip
        at += every
        budget -= size + 30
        if budget <= 0:
            break
    return found


# Reductions


def without(scenario: Scenario, names: Sequence[str]) -> Scenario:
    """The scenario with some kinds of impairment taken out, see `IMPAIRMENTS`."""
    fields = {"loss": {"loss": 0.0}, "burst": {"burst": None}, "duplicate": {"duplicate": 0.0},
              "reorder": {"reorder": 0.0, "reorder_ns": 0}, "jitter": {"jitter_ns": 0}, "corrupt": {"corrupt": 0.0},
              "rate": {"rate_bits_per_s": 0}, "blackouts": {"blackouts": ()},
              "delay": {"delay_ns": 10 * MS}}  # fmt: skip
    for name in names:
        if name in ("holes", "widths", "moves"):
            scenario = replace(scenario, **{name: ()})
        elif name in ("skew", "lag"):
            change = {"offset_ns": 0, "skew_ppm": 0} if name == "skew" else {"lag_ns": 0}
            straight = tuple(replace(side, **change) for side in (scenario.server, *scenario.clients))
            scenario = replace(scenario, server=straight[0], clients=straight[1:])
        else:
            links = tuple((replace(a, **fields[name]), replace(b, **fields[name])) for a, b in scenario.links)
            scenario = replace(scenario, links=links)
    return scenario


def only(scenario: Scenario, indexes: Sequence[int]) -> Scenario:
    """The scenario with some of its actions alone."""
    return replace(scenario, actions=tuple(scenario.actions[index] for index in indexes))
