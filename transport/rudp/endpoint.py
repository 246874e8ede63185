"""Many reliable UDP sessions on one socket: who a packet is for, who may open, who is told that nobody is there.

Packets are routed by connection id, whatever address they come from. The cheapest test comes first, and a stranger
costs nothing but its test: no memory before its address is proved where many ask, no answer larger than three times
what it sent. It must never let one peer's packets change another's session.
"""

from __future__ import annotations

from collections.abc import Callable

from transport import limits
from transport.datagram.base import PeerSession
from transport.errors import CloseCode
from transport.machine import Path, Transmit
from transport.rudp import congestion, packet, pen
from transport.rudp.config import RudpConfig
from transport.rudp.cookie import CookieJar
from transport.rudp.handshake import ClientHandshake, HalfOpen, agreed_checksum, announce
from transport.rudp.session import RudpSession
from transport.rudp.states import CLOSED, CLOSING, LINGERING, OPENING, On
from transport.rudp.turns import Exchange, TurnSession
from transport.session import SessionState

ENDED = int(SessionState.CLOSED)
SHORT_MIN = 11  # flags, connection id, a packet number of one byte, one frame
REPLIES_MAX = limits.RUDP_REPLIES_MAX
REFUSED = frozenset({111, 61, 10061})  # ECONNREFUSED, as Linux, BSD and Windows have it
TOO_LARGE = frozenset({90, 40, 10040})  # EMSGSIZE, likewise
CROWDED = "too many connections"
SECOND_NS = limits.SECOND_NS
HALF_OPEN_NS = limits.HANDSHAKE_NS


class RudpEndpoint(Exchange):
    """Sessions of reliable UDP on one socket.

    Args:
        config: of every session.
        entropy: `entropy(n)` gives n unpredictable bytes.
        listening: strangers may open sessions.
        key: secret by which RESET packets are made; the same key after a restart tells old clients at once.
        cookie_key: secret by which cookies are made, for several endpoints that take each other's; b"" for its own.

    Attributes:
        sessions: by our connection id, lingering ones included.
        worker: of several processes that share a port, which this one is; the first byte of each connection id. -1 for
            the only one.
        pass_on: `pass_on(worker, data, path, ecn)` gives another worker what is meant for it, if it can.
    """

    def __init__(
        self, config: RudpConfig, entropy: Callable[[int], bytes], listening: bool = False, key: bytes = b"",
        cookie_key: bytes = b"",
    ) -> None:  # fmt: skip
        Exchange.__init__(self)
        self.config = config
        self.listening = listening
        self.sessions: dict[int, RudpSession] = {}
        self._entropy = entropy
        self._key = key or entropy(32)
        self.worker = -1
        self.pass_on: Callable[[int, bytes, Path, int], bool] | None = None
        self._cookies = CookieJar(entropy, cookie_key)
        self._half_open: dict[int, HalfOpen] = {}
        self._clients: dict[tuple[Path, int], int] = {}  # our id of a client's, so that a second HELLO finds it
        self._client_keys: dict[int, tuple[Path, int]] = {}
        self._lingering: dict[int, RudpSession] = {}
        self._aliases: dict[int, RudpSession] = {}  # by further ids that their peers may use
        self._replies: list[tuple[bytes, Path]] = []
        self._probing: dict[Path, RudpSession] = {}  # who has tried large packets on a path, the last of several
        self._last_cid = 0  # most packets are for the session of the one before
        self._last: RudpSession | None = None
        self._sole: RudpSession | None = None
        self._now = 0
        self._second = 0  # for what is counted a second
        self._hellos = 0
        self._resets = 0
        self.passed_on = 0
        self.strays = 0
        self.malformed = 0
        self.refused = 0
        self.retries_sent = 0
        self.resets_sent = 0
        self.accepts_sent = 0
        self.dropped_replies = 0
        self.half_open_dropped = 0

    # Sessions

    def connect(self, path: Path, now: int) -> RudpSession:
        """A session towards `path`, which says HELLO with the next flush."""
        cid = self._new_cid()
        session = self._session(path, cid, True, now)
        session.handshake = ClientHandshake(self.config, cid, now)
        session.step(On.CONNECT)
        self.sessions[cid] = session
        self._sole = session
        self.take_turn(session)
        return session

    def _session(self, path: Path, cid: int, is_client: bool, now: int) -> RudpSession:
        config = self.config
        dice = self._entropy(16)
        controller = congestion.make(config.congestion, config.mtu, config.rate, int.from_bytes(dice[:4], "big"))
        session = RudpSession(self, config, path, cid, controller, is_client, dice, now)
        if config.trace is not None:
            session.trace = config.trace(session, now)
        return session

    def _new_cid(self) -> int:
        head = bytes([self.worker]) if self.worker >= 0 else b""
        while True:
            cid = int.from_bytes(head + self._entropy(8 - len(head)), "big")
            if cid and cid not in self.sessions and cid not in self._half_open and cid not in self._aliases:
                return cid

    def new_id(self, session: RudpSession) -> int:
        """A further connection id for a session's peer."""
        cid = self._new_cid()
        self._aliases[cid] = session
        return cid

    def drop_id(self, cid: int) -> None:
        """A session's peer uses a further id no more."""
        self._aliases.pop(cid, None)
        if self._last_cid == cid:
            self._last = None
            self._last_cid = 0

    def rebound(self, path: Path, now: int) -> None:
        """A client's socket has another address: its sessions go on from there."""
        self._now = now
        session = self._sole
        if session is not None and session.life < CLOSED:
            session.rebound(path, now)
            self._after(session)

    def forget(self, session: PeerSession) -> None:
        """Nobody wants `session` any more: it lingers until its goodbye has surely been heard."""
        if not isinstance(session, RudpSession) or self.sessions.get(session.own_cid) is not session:
            return
        if session.life == LINGERING:
            return
        if session.life < CLOSED:
            session.abort(CloseCode.OVERLOADED, "refused", self._now)
        session.linger(self._now)
        self._lingering[session.own_cid] = session
        if len(self._lingering) > limits.RUDP_CLOSED_MAX:
            self._remove(next(iter(self._lingering.values())), On.CROWDED)
        session.want()
        self.arm(session)

    def lingers_for(self, now: int) -> int:
        """As long as a session that has said goodbye may be asked to say it again."""
        until = [session.linger_until for session in self._lingering.values() if session.has_goodbye()]
        return max(until) - now if until else 0

    def take_fresh(self) -> list[PeerSession]:
        """As in every endpoint; who has ended before anybody could take it is forgotten like the others."""
        fresh = self.fresh_sessions
        self.fresh_sessions = []
        for session in fresh:
            if session.state == ENDED:
                self.forget(session)
        return [session for session in fresh if session.state != ENDED]

    def _remove(self, session: RudpSession, event: int) -> None:
        session.step(event)
        cid = session.own_cid
        self.sessions.pop(cid, None)
        self._lingering.pop(cid, None)
        self.disarm(session)
        if session.ids is not None:
            for alias in session.ids.own.values():
                self._aliases.pop(alias, None)
        self._forget_probing(session)
        key = self._client_keys.pop(cid, None)
        if key is not None:
            self._clients.pop(key, None)
        if self._last is session:
            self._last = None
            self._last_cid = 0
        if self._sole is session:
            self._sole = None

    # In

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        """Takes one datagram."""
        self.receive_many([data if type(data) is bytes else bytes(data)], path, ecn, now)

    def receive_one(self, payload: bytes, path: Path, ecn: int, now: int) -> None:
        """Takes one datagram; for the session of the one before in the shortest way."""
        session = self._last
        if (
            session is None
            or len(payload) < SHORT_MIN
            or payload[0] & 0xC0 != 0x40
            or pen.u64(payload, 1) != self._last_cid
        ):
            self.receive_many([payload], path, ecn, now)
            return
        self._now = now
        session.stamp = self.stamp
        self._packet(session, payload, path, ecn, now)
        self._after(session)

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        """Takes consecutive datagrams of one path."""
        self._now = now
        touched: RudpSession | None = None
        for data in payloads:
            if len(data) < SHORT_MIN:
                self.malformed += 1
                continue
            form = data[0] & 0xC0
            if form != 0x40:
                if form == 0xC0:
                    self._on_long(data, path, now)
                else:
                    self.malformed += 1
                continue
            cid = pen.u64(data, 1)
            session = self._last
            if cid != self._last_cid or session is None:
                session = self.sessions.get(cid)
                if session is None:
                    session = self._aliases.get(cid)
                if session is None:
                    session = self._on_stranger(data, cid, path, ecn, now)
                    if session is None:
                        continue
                    data = b""
                session.addressed = cid
                self._last = session
                self._last_cid = cid
            if touched is not session:
                if touched is not None:
                    self._after(touched)
                touched = session
                session.stamp = self.stamp
            if data:
                self._packet(session, data, path, ecn, now)
        if touched is not None:
            self._after(touched)

    def _packet(self, session: RudpSession, data: bytes, path: Path, ecn: int, now: int) -> None:
        if session.receive_packet(data, path, ecn, now):
            return
        if packet.is_reset(data, session.token):
            session.gone("the peer has lost this connection")

    def _after(self, session: RudpSession) -> None:
        """A session has taken packets."""
        session.batch_over()
        session.want()
        self.flushed(session)
        if session.has_news():
            self.ready(session)

    def _on_stranger(self, data: bytes, cid: int, path: Path, ecn: int, now: int) -> RudpSession | None:
        """A packet with an id that no session has: a client's first, another worker's, a RESET, or noise."""
        half = self._half_open.get(cid)
        if half is not None:
            return self._promote(half, data, path, ecn, now)
        sole = self._sole
        if sole is not None and packet.is_reset(data, sole.token):
            sole.gone("the peer has lost this connection")
            return sole
        if self.pass_on is not None and cid >> 56 != self.worker and self.pass_on(cid >> 56, data, path, ecn):
            self.passed_on += 1
            return None
        self.strays += 1
        if self.listening:
            self._reset(data, cid, path, now)
        return None

    def _promote(self, half: HalfOpen, data: bytes, path: Path, ecn: int, now: int) -> RudpSession | None:
        """The first ordinary packet of a client proves its address: now it gets a session."""
        session = self._session(half.path, half.own_cid, False, now)
        session.checksum_kind = agreed_checksum(self.config.checksums, half.peer.checksums)
        session.life = half.life
        session.open(half.peer, half.client_cid, now)
        if half.accepted_at:
            session.rtt.update(now - half.accepted_at, 0)
        if not session.receive_packet(data, path, ecn, now):
            self.malformed += 1
            return None
        if self._is_crowded():  # by others who said HELLO when there was still room
            self.refused += 1
            session.fail(CloseCode.OVERLOADED, CROWDED, now)
            session.drop_received()
        del self._half_open[half.own_cid]
        self.sessions[half.own_cid] = session
        self._client_keys[half.own_cid] = (half.path, half.client_cid)
        self.fresh_sessions.append(session)
        return session

    def _is_crowded(self) -> bool:
        return len(self.sessions) - len(self._lingering) >= self.config.sessions_max

    def _reset(self, data: bytes, cid: int, path: Path, now: int) -> None:
        """Tells a peer whose connection is not known here (RFC 9000 section 10.3)."""
        self._tick(now)
        if self._resets >= limits.RUDP_RESETS_PER_S:
            return
        answer = packet.encode_reset(self.token_of(cid), self._entropy, len(data))
        if answer:
            self._resets += 1
            self.resets_sent += 1
            self._reply(answer, path)

    def token_of(self, cid: int) -> bytes:
        """The token by which a RESET for one of our connection ids is known."""
        return packet.reset_token(self._key, cid)

    def _tick(self, now: int) -> None:
        if now - self._second >= SECOND_NS:
            self._second = now
            self._hellos = 0
            self._resets = 0

    def _reply(self, data: bytes, path: Path) -> None:
        if len(self._replies) >= REPLIES_MAX:
            self.dropped_replies += 1
            return
        self._replies.append((data, path))

    # Handshake

    def _on_long(self, data: bytes, path: Path, now: int) -> None:
        long = packet.decode_long(data)
        if long is None:
            self.malformed += 1
        elif long.kind == packet.HELLO:
            self._on_hello(long, len(data), path, now)
        else:
            self._on_answer(long, data, now)

    def _on_hello(self, long: packet.Long, size: int, path: Path, now: int) -> None:
        if not self.listening:
            self.strays += 1
            return
        self._tick(now)
        self._hellos += 1
        if long.version != packet.VERSION:
            self._refuse(long, path, CloseCode.PROTOCOL_ERROR, "version", (packet.VERSION,))
            return
        known = self._clients.get((path, long.scid))
        if known is not None:
            half = self._half_open.get(known)
            if half is not None:
                half.step(On.HELLO)
                self._accept(half, size, now)
            return
        if self._wants_proof() and not self._cookies.check(long.cookie, path.remote, long.scid, now):
            self.retries_sent += 1
            self._reply(packet.encode_retry(long.scid, self._cookies.make(path.remote, long.scid, now)), path)
            return
        peer = long.parameters
        if peer is None:
            self.malformed += 1
            return
        if self.config.codec and peer.codec and self.config.codec != peer.codec:
            self._refuse(long, path, CloseCode.CODEC_MISMATCH,
                         f"this side's codec is {self.config.codec!r}, not {peer.codec!r}")  # fmt: skip
            return
        if self._is_crowded():
            self._refuse(long, path, CloseCode.OVERLOADED, CROWDED)
            return
        self._open_half(long, peer, size, path, now)

    def _open_half(self, long: packet.Long, peer: packet.Parameters, size: int, path: Path, now: int) -> None:
        self._drop_old_half(now)
        if len(self._half_open) >= self.config.half_open_max:
            oldest = next(iter(self._half_open.values()))
            self._drop_half(oldest, On.CROWDED)
        cid = self._new_cid()
        accept = packet.encode_accept(long.scid, cid, announce(self.config, self.token_of(cid)))
        half = HalfOpen(path, long.scid, cid, peer, accept, now)
        self._half_open[cid] = half
        self._clients[path, long.scid] = cid
        self._accept(half, size, now)

    def _drop_half(self, half: HalfOpen, event: int) -> None:
        half.step(event)
        self.half_open_dropped += 1
        del self._half_open[half.own_cid]
        self._clients.pop((half.path, half.client_cid), None)

    def _drop_old_half(self, now: int) -> None:
        while self._half_open:
            oldest = next(iter(self._half_open.values()))
            if now < oldest.opened + HALF_OPEN_NS:
                return
            self._drop_half(oldest, On.TIMEOUT)

    def _accept(self, half: HalfOpen, size: int, now: int) -> None:
        answer = half.answer(size, now)
        if answer:
            self.accepts_sent += 1
            self._reply(answer, half.path)

    def _wants_proof(self) -> bool:
        """Whether a client has to show that it gets what is sent to its address."""
        mode = self.config.cookie
        if mode == "adaptive":
            return len(self._half_open) > limits.RUDP_HALF_OPEN_COOKIE or self._hellos > limits.RUDP_HELLOS_PER_S
        return mode == "always"

    def _refuse(self, long: packet.Long, path: Path, code: int, reason: str, versions: tuple[int, ...] = ()) -> None:
        self.refused += 1
        self._reply(packet.encode_refuse(long.scid, code, reason, versions), path)

    def _on_answer(self, long: packet.Long, data: bytes, now: int) -> None:
        """RETRY, ACCEPT or REFUSE for a session of ours that opens."""
        session = self.sessions.get(long.dcid)
        handshake = None if session is None else session.handshake
        if session is None or handshake is None or session.life != OPENING:
            self.strays += 1
            return
        if session.trace is not None:
            session.trace.long_received(data, now)
        if long.kind == packet.RETRY:
            if handshake.retry(long.cookie, now):
                session.step(On.RETRY)
        elif long.kind == packet.REFUSE:
            session.refuse(long.code, long.reason or "refused")
        elif long.kind == packet.ACCEPT and long.parameters is not None and long.scid:
            session.checksum_kind = agreed_checksum(self.config.checksums, long.parameters.checksums)
            if handshake.sent_at:
                session.rtt.update(now - handshake.sent_at, 0)
            session.handshake = None
            session.open(long.parameters, long.scid, now)
        else:
            self.malformed += 1
            return
        self._after(session)

    def error(self, path: Path, errno: int, now: int) -> None:
        """An error of a path. Anybody can forge one: only what is opening or closing anyway takes it as a hint.

        That a datagram was too large is the system's own word, where the socket leaves out what ICMP says of it.
        """
        self._now = now
        if errno in TOO_LARGE:
            probing = self._probing.get(path)
            if probing is not None:
                probing.too_large(now)
                self.pressing = True
            return
        session = self._sole
        if session is None or errno not in REFUSED:
            return
        session.path_errors += 1
        handshake = session.handshake
        if session.life == OPENING and handshake is not None and handshake.tries >= 2:
            session.refuse(CloseCode.LOST, "connection refused")
            self._after(session)
        elif session.life == CLOSING:
            session.gone("connection refused")
            self._after(session)

    # Out

    def probes(self, session: TurnSession) -> None:
        """See `Exchange.probes`."""
        assert isinstance(session, RudpSession)
        if session.probed_path is not session.path:
            self._forget_probing(session)
            session.probed_path = session.path
        self._probing[session.path] = session

    def _forget_probing(self, session: RudpSession) -> None:
        path = session.probed_path
        if path is not None and self._probing.get(path) is session:
            del self._probing[path]

    def fill(self, item: Transmit, room: memoryview, now: int) -> bool:
        """The next train of the session whose turn it is; answers to strangers go first."""
        self._now = now
        if self._replies:
            data, path = self._replies.pop(0)
            size = len(data)
            room[:size] = data
            item.size = size
            item.segment_bytes = size
            item.path = path
            item.ecn = 0
            return True
        while self._first is not None:
            session = self._first
            assert isinstance(session, RudpSession)
            size = session.fill(room, now)
            self.turn_over()
            self.flushed(session)
            if size > 0:
                if session.may_have_more():
                    self.take_turn(session)
                else:
                    self._rested(session)
                item.size = size
                item.segment_bytes = session.segment
                item.path = session.path
                if session.detour is not None:
                    item.path = session.detour
                    session.detour = None
                item.ecn = session.mark
                return True
            self._rested(session)
        self.pressing = False
        return False

    def _rested(self, session: RudpSession) -> None:
        """A session has sent all that it may for now."""
        self.arm(session)
        if session.has_news():
            self.ready(session)

    # Time

    def due(self) -> int:
        """When to call `expire`."""
        first = self.first_due()
        if self._half_open:
            end = int(next(iter(self._half_open.values())).opened) + HALF_OPEN_NS
            if not first or end < first:
                return end
        return first

    def expire(self, now: int) -> None:
        """Wakes every session whose deadline has come."""
        self._now = now
        if self._half_open:
            self._drop_old_half(now)
        session = self.pop_due(now)
        while session is not None:
            assert isinstance(session, RudpSession)
            if session.life == LINGERING:
                self._remove(session, On.LINGERED)
            else:
                session.expire(now)
                self._after(session)
            session = self.pop_due(now)

    def statistics(self) -> dict[str, int]:
        """Counters of the socket as a whole."""
        return {
            "peers": len(self.sessions) - len(self._lingering),
            "half_open": len(self._half_open),
            "passed_on": self.passed_on,
            "strays": self.strays,
            "malformed": self.malformed,
            "refused_hellos": self.refused,
            "retries_sent": self.retries_sent,
            "accepts_sent": self.accepts_sent,
            "resets_sent": self.resets_sent,
            "half_open_dropped": self.half_open_dropped,
            "dropped_replies": self.dropped_replies,
        }
