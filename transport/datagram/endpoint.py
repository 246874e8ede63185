"""Raw UDP as a machine: many peers on one socket, one session for each address.

Routes what arrives to the session of its path, makes sessions for new peers, lets every session with something to send
have its turn, and ends the idle. It must never grow with the number of addresses that write to it: the table is
bounded, and the least recently used peer makes room.
"""

from __future__ import annotations

from collections.abc import Iterator

from transport import limits
from transport.datagram.base import PeerSession
from transport.datagram.session import DatagramSession, Exchange
from transport.errors import CloseCode
from transport.machine import Path, Transmit
from transport.session import SessionState

OPEN = int(SessionState.OPEN)


class DatagramEndpoint(Exchange):
    """Raw UDP sessions on one socket, bounded in number.

    Args:
        listening: unknown peers become sessions; else their datagrams are dropped and counted.
        max_message: largest payload sent or taken, bytes.
        idle_ns: silence in both directions after which a session ends; 0 for never.
        peers_max: sessions at once.
        inbox_bytes: bytes of one session received and not yet taken; above it the oldest go.

    Attributes:
        sessions: by path.
        strays: datagrams of unknown peers, dropped because nobody listens.
        evicted: sessions ended to make room for another peer.
        too_large: datagrams dropped because they are over `max_message`.
    """

    def __init__(
        self,
        listening: bool,
        max_message: int = limits.UDP_MESSAGE_BYTES_MAX,
        idle_ns: int = limits.UDP_IDLE_NS,
        peers_max: int = limits.UDP_PEERS_MAX,
        inbox_bytes: int = limits.UDP_INBOX_BYTES,
    ) -> None:
        Exchange.__init__(self, max_message, inbox_bytes)
        self.listening = listening
        self.idle_ns = idle_ns
        self.peers_max = peers_max
        self.sessions: dict[Path, DatagramSession] = {}
        self.strays = 0
        self.evicted = 0
        self.too_large = 0
        self._sole: DatagramSession | None = None
        self._last_path: Path | None = None  # most batches come from the peer of the one before
        self._last: DatagramSession | None = None
        self._oldest: DatagramSession | None = None
        self._newest: DatagramSession | None = None

    # Sessions

    def open(self, path: Path, now: int, sole: bool = False) -> DatagramSession:
        """The session towards `path`, made if there is none.

        Args:
            path: where it sends to.
            now: the time.
            sole: it also gets what other addresses send (answers to a group, or to a broadcast).
        """
        session = self.sessions.get(path)
        if session is None:
            session = self._add(path, now)
        if sole:
            self._sole = session
        return session

    def _add(self, path: Path, now: int) -> DatagramSession:
        if len(self.sessions) >= self.peers_max:
            oldest = self._oldest
            assert oldest is not None
            self.evicted += 1
            oldest.end(CloseCode.OVERLOADED, "too many peers, the least recently used had to go", False)
        session = DatagramSession(self, path, now)
        self.sessions[path] = session
        self._link(session)
        self.ready(session)
        return session

    def forget(self, session: PeerSession) -> None:
        """Takes a session out of the table, unsent messages dropped; the path's next datagram is a new peer's."""
        if isinstance(session, DatagramSession):
            self._forget(session)

    def _forget(self, session: DatagramSession) -> None:
        session.clear()
        if self.sessions.get(session.path) is session:
            del self.sessions[session.path]
            self._unlink(session)
        if self._last is session:
            self._last = None
            self._last_path = None
        if self._sole is session:
            self._sole = None

    # The five verbs

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        """Takes one datagram."""
        self.receive_one(data if type(data) is bytes else bytes(data), path, ecn, now)

    def receive_one(self, payload: bytes, path: Path, ecn: int, now: int) -> None:
        """The same, and what most often happens in the fewest steps."""
        session = self._last
        if path is not self._last_path or session is None or len(payload) > self.max_message:
            self.receive_many([payload], path, ecn, now)
            return
        session.seen = now
        session.stamp = self.stamp
        if session is not self._newest:
            self._refresh(session)
        session.arrived_one(payload)
        self.ready(session)

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        """Takes consecutive datagrams of one path; the list is the machine's from now on."""
        size = 0
        largest = 0
        for payload in payloads:
            length = len(payload)
            size += length
            if length > largest:  # noqa: PLR1730  max() is a call where this is a comparison
                largest = length
        if largest > self.max_message:
            self._receive_smaller(payloads, path, ecn, now)
            return
        session = self._last
        if path is not self._last_path or session is None:
            session = self._route(path, now)
            if session is None:
                self.strays += len(payloads)
                return
            self._last = session
            self._last_path = path
        session.seen = now
        session.stamp = self.stamp
        if session is not self._newest:
            self._refresh(session)
        session.arrived(payloads, size)
        self.ready(session)

    def _receive_smaller(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        """Takes the datagrams that are within the limit; the others are dropped and counted."""
        kept = [payload for payload in payloads if len(payload) <= self.max_message]
        self.too_large += len(payloads) - len(kept)
        if kept:
            self.receive_many(kept, path, ecn, now)

    def _route(self, path: Path, now: int) -> DatagramSession | None:
        if self._sole is not None:
            return self._sole
        session = self.sessions.get(path)
        if session is None and self.listening:
            session = self._add(path, now)
            self.fresh_sessions.append(session)
        return session

    def error(self, path: Path, errno: int, now: int) -> None:
        """An error of a path: counted, and kept for whoever asks. Anybody can forge one, so nothing else follows."""
        session = self._sole or self.sessions.get(path)
        if session is not None:
            session.failed(errno)

    def fill(self, item: Transmit, room: memoryview, now: int) -> bool:
        """The next train of the session whose turn it is; sessions take turns, a train each."""
        while self._first is not None:
            session = self._first
            size = session.fill(room, now)
            self._next_turn()
            if session.has_queued():
                self.take_turn(session)
            self.flushed(session)
            if not session.is_queued:
                session.finish()
            if size >= 0:
                session.seen = now
                if session is not self._newest:
                    self._refresh(session)
                item.size = size
                item.segment_bytes = session.segment
                item.path = session.path
                item.ecn = 0
                return True
        return False

    def single(self) -> bytes | None:
        """What a request or its answer is: one datagram of one session."""
        session = self._first
        if session is None or session.next_turn is not None:
            return None
        self.single_path = session.path
        return session.sole()

    def single_sent(self, now: int) -> None:
        """It has left."""
        session = self._first
        assert session is not None
        session.sole_left()
        session.is_queued = False
        self._first = self._final = None  # nobody else had anything
        self.queued_bytes = self.queued_messages = 0
        self.pressing = False
        if session.is_awaited:
            self.flushed(session)
        if session.state != OPEN:
            session.finish()
        session.seen = now
        if session is not self._newest:
            self._refresh(session)

    def due(self) -> int:
        """When the least recently used session has been idle for too long."""
        if not self.idle_ns or self._oldest is None:
            return 0
        return self._oldest.seen + self.idle_ns

    def expire(self, now: int) -> None:
        """Ends idle sessions."""
        while self.idle_ns and self._oldest is not None and self._oldest.seen + self.idle_ns <= now:
            self._oldest.end(CloseCode.IDLE_TIMEOUT, f"no datagram for {self.idle_ns / limits.SECOND_NS:g} s", True)

    def statistics(self) -> dict[str, int]:
        """Counters of the socket as a whole."""
        return {
            "peers": len(self.sessions),
            "strays": self.strays,
            "evicted": self.evicted,
            "too_large": self.too_large,
            "queued_bytes": self.queued_bytes,
        }

    # Order of last use: a doubly linked list through the sessions

    def by_last_use(self) -> Iterator[DatagramSession]:
        """Sessions, least recently used first."""
        session = self._oldest
        while session is not None:
            yield session
            session = session.newer

    def _link(self, session: DatagramSession) -> None:
        session.older = self._newest
        session.newer = None
        if self._newest is None:
            self._oldest = session
        else:
            self._newest.newer = session
        self._newest = session

    def _unlink(self, session: DatagramSession) -> None:
        older = session.older
        newer = session.newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        session.older = None
        session.newer = None

    def _refresh(self, session: DatagramSession) -> None:
        if session.older is not None or session.newer is not None:
            self._unlink(session)
            self._link(session)
