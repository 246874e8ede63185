"""One connection over time: what was sent, acknowledged, lost and copied, the window, the round trip.

Made of a trace, or as far as it goes of a capture: there nobody says how large the window was or what congestion
control was about, and what was believed lost is a guess. It must never hold more points than its limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transport import limits
from transport.sight.follow import MOVED, TO_SERVER, TRIES, Connection, Found
from transport.sight.sqlog import Event, TraceFile, plain

POINTS_MAX = limits.TIMELINE_POINTS_MAX
QUIET = ("ack", "padding", "connection_close", "path_challenge", "path_response")  # frames that ask for no ack
OWN_QUIET = ("ACK", "ACK_ECN", "PAD", "CLOSE", "PATH_CHALLENGE", "PATH_RESPONSE")

Points = list[tuple[float, float]]


@dataclass(slots=True)
class Timeline:
    """What is drawn. Times in seconds since the beginning, sizes in bytes, round trips in milliseconds.

    Attributes:
        title, lines: what stands above.
        sent: of each packet the time and the bytes that had been sent with it.
        acked, lost, copies: the same places, at the time of the ack, of the loss, of a packet with copies.
        lost_name: what the lost ones are called.
        window, in_flight: bytes that may be, and are, on their way.
        marked, timeouts: what is in flight when a queue has marked packets, and when nothing was heard for too long.
        states: what congestion control is about, from which time on.
        mtu: size that packets are filled to.
        tries, failed: packets that try a larger size, when they leave, and when they are believed lost.
        moves: when the connection goes on over another path.
        latest, smoothed, least: round trips.
        is_cut: there was more than is held.
    """

    title: str = ""
    lines: list[str] = field(default_factory=list)
    sent: Points = field(default_factory=list)
    acked: Points = field(default_factory=list)
    lost: Points = field(default_factory=list)
    lost_name: str = "believed lost (when that was found)"
    copies: Points = field(default_factory=list)
    window: Points = field(default_factory=list)
    in_flight: Points = field(default_factory=list)
    marked: Points = field(default_factory=list)
    timeouts: Points = field(default_factory=list)
    states: list[tuple[float, str]] = field(default_factory=list)
    mtu: Points = field(default_factory=list)
    tries: Points = field(default_factory=list)
    failed: Points = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    latest: Points = field(default_factory=list)
    smoothed: Points = field(default_factory=list)
    least: Points = field(default_factory=list)
    is_cut: bool = False

    @property
    def seconds(self) -> float:
        """How long it goes on."""
        series = (
            self.sent, self.acked, self.lost, self.failed, self.window, self.in_flight, self.latest, self.smoothed,
            self.mtu,
        )  # fmt: skip
        return max([points[-1][0] for points in series if points], default=0.0)


class _Builder:
    """What both sources share: places of packets by their numbers."""

    def __init__(self) -> None:
        self.made = Timeline()
        self._total = 0
        self._places: dict[int, tuple[int, float]] = {}  # by number: bytes sent with it, when
        self._settled: set[int] = set()
        self._waiting: dict[int, None] = {}  # those that are not, in the order in which they were sent
        self._flying: dict[int, int] = {}  # bytes of packets that wait for their ack
        self._flight = 0
        self._points = 0
        self.control = ""  # the congestion controller
        self.marks = 0  # packets that queues have marked

    def sent(self, at: float, number: int, size: int) -> None:
        """A packet left."""
        self._total += size
        self._places[number] = (self._total, at)
        self._waiting[number] = None
        self.put(self.made.sent, at, self._total)

    def flies(self, at: float, number: int, size: int) -> None:
        """A packet that was sent asks for an ack."""
        self._flying[number] = size
        self._flight += size
        self.put(self.made.in_flight, at, self._flight)

    def lands(self, at: float, number: int) -> None:
        """It is acknowledged, or believed lost."""
        size = self._flying.pop(number, 0)
        if size:
            self._flight -= size
            self.put(self.made.in_flight, at, self._flight)

    def among(self, low: int, high: int) -> list[int]:
        """Those of the packets from `low` to `high` that were sent and not acknowledged, in their order."""
        waiting = self._waiting
        if high - low < len(waiting):
            return [number for number in range(low, high + 1) if number in waiting]
        return [number for number in waiting if low <= number <= high]

    def mark(self, points: Points, at: float, number: int) -> None:
        """Something became of a packet."""
        place = self._places.get(number)
        if place is not None:
            self.put(points, at, place[0])

    def acked(self, at: float, number: int) -> None:
        """A packet was acknowledged; nothing, if that is no news."""
        place = self._places.get(number)
        if place is not None and number not in self._settled:
            self._waiting.pop(number, None)
            self._settled.add(number)
            self.put(self.made.acked, at, place[0])
            self.lands(at, number)

    def notes(self, at: float, state: str) -> None:
        """Congestion control is about something else now."""
        if self._has_room():
            self.made.states.append((at, state))

    def moves(self, at: float) -> None:
        """It goes on over another path."""
        if self._has_room():
            self.made.moves.append(at)

    def put(self, points: Points, at: float, value: float) -> None:
        """One more point, if there is room."""
        if self._has_room():
            points.append((at, value))

    def _has_room(self) -> bool:
        if self._points >= POINTS_MAX:
            self.made.is_cut = True
            return False
        self._points += 1
        return True

    def told(self, title: str, extra: list[str]) -> Timeline:
        """The whole, with its title."""
        made = self.made
        made.title = title
        share = f" ({100 * len(made.lost) / len(made.sent):.2g} %)" if made.sent and made.lost else ""
        parts = [f"{len(made.sent):,} packets, {self._total:,} bytes sent", f"{len(made.acked):,} acknowledged"]
        parts += [f"{len(made.lost):,} {made.lost_name.split(' (')[0]}{share}"] if made.lost else []
        parts += [f"{len(made.copies):,} with copies"] if made.copies else []
        made.lines = [", ".join([*parts, f"{made.seconds:.3f} s"]), *extra]
        if path := self._path():
            made.lines.append(path)
        if made.is_cut:
            made.lines.append(f"the first {POINTS_MAX} points of more")
        return made

    def _path(self) -> str:
        """What was found out about the path, in one line."""
        made = self.made
        parts = [f"packets of up to {max(size for _, size in made.mtu):,.0f} bytes"] if made.mtu else []
        if made.tries:
            tries = _counted(len(made.tries), "try of a larger size", "tries of larger sizes")
            parts.append(f"{tries} ({len(made.failed):,} lost)")
        parts += [_counted(len(made.timeouts), "probe time-out", "probe time-outs")] if made.timeouts else []
        parts += [f"{self.marks:,} marked by queues"] if self.marks else []
        parts += [_counted(len(made.moves), "change of path", "changes of path")] if made.moves else []
        return ", ".join([*([self.control] if self.control else []), *parts])


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


# Of a trace


class _Traced(_Builder):
    def __init__(self) -> None:
        super().__init__()
        self._has_acks = False  # events of their own; else the frames are read

    def take(self, event: Event) -> None:
        at, data, kind = event.at_ms / 1000, event.data, event.kind
        if kind == "packet_sent" and event.number is not None:
            self._packet(at, event, event.number)
        elif kind == "packets_acked":
            self._has_acks = True
            numbers = data.get("packet_numbers")
            for number in numbers if isinstance(numbers, list) else []:
                if isinstance(number, int):
                    self.acked(at, number)
        elif kind == "packet_received" and not self._has_acks:
            self._frames(at, event)
        elif kind == "packet_lost" and event.number is not None:
            if data.get("is_mtu_probe_packet") is True:
                self.put(self.made.failed, at, event.size)
            else:
                self.mark(self.made.lost, at, event.number)
            self.lands(at, event.number)
        elif kind.endswith("metrics_updated"):
            self._metrics(at, data)
        else:
            self._told(at, kind, data)

    def _packet(self, at: float, event: Event, number: int) -> None:
        self.sent(at, number, event.size)
        if any(frame.get("frame_type") not in QUIET for frame in event.frames):
            self.flies(at, number, event.size)
        if event.data["header"].get("copies"):
            self.mark(self.made.copies, at, number)
        if event.data.get("is_mtu_probe_packet") is True:
            self.put(self.made.tries, at, event.size)

    def _told(self, at: float, kind: str, data: dict[str, Any]) -> None:
        """What else is known of congestion control, and of the path."""
        new = data.get("new")
        if kind == "congestion_state_updated" and isinstance(new, str):
            self.notes(at, new)
        elif kind == "mtu_updated" and (size := plain(new)) is not None:
            self.put(self.made.mtu, at, size)
        elif kind.endswith("parameters_set") and (size := plain(data.get("max_datagram_size"))) is not None:
            self.put(self.made.mtu, at, size)
            self.control = str(data.get("congestion_control", ""))
        elif kind == "loss_timer_updated" and (data.get("event_type"), data.get("timer_type")) == ("expired", "pto"):
            self.put(self.made.timeouts, at, self._flight)
        elif kind == "path_updated":
            self.moves(at)

    def _frames(self, at: float, event: Event) -> None:
        for frame in event.frames:
            ranges = frame.get("acked_ranges")
            if frame.get("frame_type") != "ack" or not isinstance(ranges, list):
                continue
            for one in ranges:
                if isinstance(one, list) and one and all(isinstance(bound, int) for bound in one):
                    for number in self.among(one[0], one[-1]):
                        self.acked(at, number)

    def _metrics(self, at: float, data: dict[str, Any]) -> None:
        made = self.made
        marks = plain(data.get("ecn_ce"))
        if marks is not None and marks > self.marks:
            self.marks = round(marks)
            self.put(made.marked, at, self._flight)
        for name, points in (
            ("congestion_window", made.window), ("latest_rtt", made.latest), ("smoothed_rtt", made.smoothed),
            ("min_rtt", made.least),
        ):  # fmt: skip
            value = plain(data.get(name))
            if value is not None:
                self.put(points, at, value)


def of_trace(file: TraceFile) -> Timeline:
    """A trace's connection, as its own side saw it. Raises OSError."""
    builder = _Traced()
    for event in file.events():
        builder.take(event)
    group = file.common.get("group_id", "")
    side = f", what the {file.vantage} sent" if file.vantage else ""
    return builder.told(f"connection {group}{side}", [])


# Of a capture


class Captured(_Builder):
    """One direction of a connection in a capture, taken packet by packet.

    Args:
        way: whose packets: `follow.TO_SERVER` are the client's.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.bytes = 0
        self._least = 0.0
        self._tries: dict[int, int] = {}  # sizes of packets that try one, by number
        self.made.lost_name = "likely lost (later ones were acknowledged)"

    def take(self, found: Found, at: float) -> None:
        """The next packet of the connection, `at` seconds after its beginning."""
        if MOVED in found.notes:
            self.moves(at)
        number = found.dissection.fields.get("number")
        if number is None or found.dissection.problem:
            return
        if found.way == self.way:
            self._own(found, number, at)
            return
        for frame in found.dissection.frames:
            if "ranges" in frame.fields:
                self._ack(frame.fields, at)

    def _own(self, found: Found, number: int, at: float) -> None:
        self.bytes += found.size
        if number in self._places:
            return
        self.sent(at, number, found.size)
        if found.dissection.fields.get("copies"):
            self.mark(self.made.copies, at, number)
        if TRIES in found.notes:
            self._tries[number] = found.size
            self.put(self.made.tries, at, found.size)
        if any(frame.name not in OWN_QUIET for frame in found.dissection.frames):
            self.flies(at, number, found.size)
        else:
            self._settled.add(number)  # nobody acknowledges it for itself
            del self._waiting[number]

    def acked(self, at: float, number: int) -> None:
        """See `_Builder`. What tried a size, and has arrived, tells that the path carries it."""
        super().acked(at, number)
        size = self._tries.pop(number, 0)
        if size:
            self.put(self.made.mtu, at, size)

    def _ack(self, fields: dict[str, Any], at: float) -> None:
        largest = fields["ranges"][0][1]
        place = self._places.get(largest)
        is_news = largest in self._flying
        for low, high in fields["ranges"]:
            for number in self.among(low, high):
                self.acked(at, number)
        for number in list(self._flying):
            if number > largest - limits.RUDP_REORDER_PACKETS_MIN:
                break
            if number in self._tries:
                self.put(self.made.failed, at, self._tries.pop(number))
            else:
                self.mark(self.made.lost, at, number)
            self.lands(at, number)
        if is_news and place is not None:
            sample = max(0.0, (at - place[1]) * 1000 - fields["delay_us"] / 1000)
            self._least = min(self._least, sample) if self._least else sample
            self.put(self.made.latest, at, sample)
            self.put(self.made.least, at, self._least)


def of_capture(connection: Connection, both: tuple[Captured, Captured]) -> Timeline:
    """The direction in which more was sent."""
    busier = max(both, key=lambda one: one.bytes)
    sender = "the client" if busier.way == TO_SERVER else "the server"
    return busier.told(
        f"connection {connection.number} of the capture, what {sender} sent",
        ["From a capture: round trips count from where it was made; what is lost is a guess, and the window not on the "
         "wire"],
    )  # fmt: skip
