"""What a stream session still has to write, in the order it will leave.

Ordinary messages are merged into byte runs as they come (one copy, no object a message). Messages with an expiry, a
priority or an unreliable delivery stay entries of their own, because they may yet be dropped or overtaken.
It must never reorder ordered messages of one channel, and never drop a reliable one that has not expired.
"""

from __future__ import annotations

from collections import deque

from transport import limits
from transport.codec import memory

TAKE_BYTES = 64 * limits.KIB  # taken at once while messages may still be dropped or overtaken
RUN_BYTES = 64 * limits.KIB  # a run is sealed at this size
SEQUENCED, UNRELIABLE = 2, 2  # Delivery values: sequenced is the first of the unreliable ones
SPARE_BYTES = 2 * limits.KIB  # memory that a written run may keep until the next one
BY_REFERENCE_BYTES = 16 * limits.KIB  # payloads from here on are not copied into a run


class Entry:
    """One message that may yet be dropped or overtaken. `frame` is its header, `payload` its body."""

    __slots__ = ("channel", "delivery", "expires_at", "frame", "payload", "priority", "size")

    def __init__(
        self, frame: bytes, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int
    ) -> None:
        self.frame = frame
        self.payload = payload
        self.channel = channel
        self.delivery = delivery
        self.priority = priority
        self.expires_at = expires_at
        self.size = len(frame) + len(payload)


class Outbox:
    """Byte runs and entries, by priority. `size` counts every byte in it.

    Attributes:
        run: the open run at priority 0; a session appends whole frames to it and adds their size to `size`.
        dropped: unreliable messages dropped for room, since the start.
        expired: messages dropped because their time had passed.
        lapsed: the reliable ones among them, until the session has taken back what credit they were charged.
        held: entries that are not merged into runs.
        floor: -1 until a priority is first used; then class 0 up to here may hold any channel, because positions
            were not noted before.
    """

    def __init__(self) -> None:
        self.run = bytearray()
        self.size = 0
        self.dropped = 0
        self.expired = 0
        self.lapsed: list[Entry] = []
        self.held = 0
        self._spare: bytearray | None = None  # a run that was written, for the next one
        self._sealed: deque[bytes | bytearray | Entry] = deque()
        self._classes: dict[int, deque[Entry]] = {}
        self._loose: dict[int, deque[Entry]] = {}  # unreliable, by priority
        self._loose_bytes = 0
        self._loose_count = 0
        self._sequenced: dict[int, list[int]] = {}  # channel: [priority, how many wait there]
        # Order under priorities: how much of class 0 was ever sealed and taken, and where a channel last stood.
        self._appended = 0
        self._taken = 0
        self.floor = -1
        self._last: dict[int, tuple[int, int]] = {}
        self._class_counts: dict[int, list[int]] = {}

    def seal(self) -> None:
        """Closes the open run, so that what follows stands behind it."""
        if self.run:
            self._sealed.append(self.run)
            self.run = bytearray()
            self._appended += 1

    def add_large(self, frame: bytes, payload: bytes) -> None:
        """Appends one ordinary message whose payload is kept by reference."""
        self.run += frame
        self.seal()
        self._sealed.append(payload)  # bytes, not bytearray: it belongs to the run before it
        self._appended += 1
        self.size += len(frame) + len(payload)

    def add(self, entry: Entry) -> None:
        """Appends an entry, at its priority where order allows. The session bounds how many there are."""
        if entry.delivery >= UNRELIABLE:
            self._add_loose(entry)
            return
        if entry.priority or self.floor >= 0:
            entry.priority = self._place(entry)
        self.held += 1
        self.size += entry.size
        if entry.priority:
            self._classes.setdefault(entry.priority, deque()).append(entry)
        else:
            self.seal()
            self._sealed.append(entry)
            self._appended += 1

    def note(self, channel: int) -> None:
        """An ordinary message of `channel` is about to be appended to the run (call only when `ordering`)."""
        self._last[channel] = (0, self._appended)

    def ordering(self) -> bool:
        """Whether priorities are in use, so that positions of channels must be noted."""
        return self.floor >= 0

    def pinned(self, channel: int) -> int:
        """The priority at which the next ordered message of `channel` must not be overtaken by itself, or 0."""
        last = self._last.get(channel)
        if last is None:
            return 0
        priority, index = last
        if priority < 0 and self._class_counts[priority][1] <= index:
            return priority
        return 0

    def _place(self, entry: Entry) -> int:
        """The class for an entry: as asked, or lower where an earlier ordered message of its channel waits there."""
        if self.floor < 0:
            self.floor = self._appended
        wanted = entry.priority
        if entry.delivery == 0:
            last_class, index = self._last.get(entry.channel, (0, self.floor))
            taken = self._taken if last_class == 0 else self._class_counts[last_class][1]
            if last_class < wanted and index >= taken:
                wanted = last_class
            if wanted == 0:
                self._last[entry.channel] = (0, self._appended + (1 if self.run else 0))
            else:
                counts = self._class_counts.setdefault(wanted, [0, 0])
                self._last[entry.channel] = (wanted, counts[0])
        if wanted:
            self._class_counts.setdefault(wanted, [0, 0])[0] += 1
        return wanted

    def _add_loose(self, entry: Entry) -> None:
        """Queues an unreliable message; above their bound the oldest of the least priority go, they never wait."""
        if entry.delivery == SEQUENCED:
            waiting = self._sequenced.setdefault(entry.channel, [entry.priority, 0])
            if not waiting[1]:
                waiting[0] = entry.priority
            entry.priority = waiting[0]
            waiting[1] += 1
        self._loose.setdefault(entry.priority, deque()).append(entry)
        self._loose_bytes += entry.size
        self._loose_count += 1
        self.size += entry.size
        self.held += 1
        while self._loose_bytes > limits.UNRELIABLE_QUEUE_BYTES and self._loose_count > 1:
            oldest = self._loose[min([priority for priority, queue in self._loose.items() if queue])].popleft()
            self._forget(oldest)
            self.dropped += 1

    def _forget(self, entry: Entry) -> None:
        """Takes an entry, already out of its queue, out of the books."""
        self.size -= entry.size
        self.held -= 1
        if entry.delivery >= UNRELIABLE:
            self._loose_bytes -= entry.size
            self._loose_count -= 1
            if entry.delivery == SEQUENCED:
                self._sequenced[entry.channel][1] -= 1

    def take(self, now: int, room: int) -> list[bytes | bytearray]:
        """Buffers to write now, in order.

        Everything where nothing may be dropped or overtaken; else about `room` bytes, so that the choice is made late.
        """
        out: list[bytes | bytearray] = []
        if not self.held:
            if self._sealed:
                out.extend(self._sealed)  # type: ignore[arg-type]  # without entries these are buffers
                self._taken += len(self._sealed)
                self._sealed.clear()
            if self.run:
                out.append(self.run)
                self.run = bytearray()
                self._appended += 1
                self._taken += 1
            self.size = 0
            return out
        taken = 0
        for priority in sorted({0, *self._classes, *self._loose}, reverse=True):
            if taken >= room:
                break
            half = (room - taken + 1) // 2 if priority in self._classes or not priority else room - taken
            taken += self._take_class(self._loose.get(priority), None, now, half, out)
            if priority:
                counts = self._class_counts.setdefault(priority, [0, 0])
                taken += self._take_class(self._classes.get(priority), counts, now, room - taken, out)
            else:
                taken += self._take_runs(now, room - taken, out)
        return out

    def take_run(self) -> bytearray | None:
        """The open run, where nothing else waits: what `take` would give, without a list."""
        if self.held or self._sealed:
            return None
        run = self.run
        if self._spare is None:
            self.run = bytearray()
        else:
            self.run = self._spare
            self._spare = None
        self._appended += 1
        self._taken += 1
        self.size = 0
        return run

    def recycle(self, run: bytearray) -> None:
        """Takes a run back that was written."""
        if self._spare is None and memory.empty(run, SPARE_BYTES):
            self._spare = run

    def _take_runs(self, now: int, room: int, out: list[bytes | bytearray]) -> int:
        taken = 0
        while taken < room and (self._sealed or self.run):
            self.seal()
            item = self._sealed.popleft()
            self._taken += 1
            if isinstance(item, Entry):
                taken += self._emit(item, now, out)
            else:
                out.append(item)
                self.size -= len(item)
                taken += len(item)
                if self._sealed and type(self._sealed[0]) is bytes:  # the body of the frame that ends this run
                    body: bytes = self._sealed.popleft()  # type: ignore[assignment]
                    self._taken += 1
                    out.append(body)
                    self.size -= len(body)
                    taken += len(body)
        return taken

    def _take_class(
        self, queue: deque[Entry] | None, counts: list[int] | None, now: int, room: int, out: list[bytes | bytearray]
    ) -> int:
        taken = 0
        while queue and taken < room:
            if counts is not None:
                counts[1] += 1
            taken += self._emit(queue.popleft(), now, out)
        return taken

    def _emit(self, entry: Entry, now: int, out: list[bytes | bytearray]) -> int:
        size = entry.size
        if entry.expires_at and entry.expires_at <= now:
            self._forget(entry)
            self.expired += 1
            if entry.delivery < UNRELIABLE:
                self.lapsed.append(entry)
            return 0
        out.append(entry.frame + entry.payload if size < BY_REFERENCE_BYTES else entry.frame)
        if size >= BY_REFERENCE_BYTES:
            out.append(entry.payload)
        self._forget(entry)
        return size

    def clear(self) -> None:
        """Drops everything."""
        self.run = bytearray()
        self._sealed.clear()
        self._classes.clear()
        self._loose.clear()
        self._loose_bytes = 0
        self._loose_count = 0
        self._sequenced.clear()
        self.lapsed = []
        self.size = 0
        self.held = 0
