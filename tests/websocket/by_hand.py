"""Frames and requests written from RFC 6455, not from the code, so that a mistake has to be made twice to go unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transport.machine import Closed
from transport.sim.seeds import entropy
from transport.websocket.config import Agreement, WebSocketConfig
from transport.websocket.handshake import ServerSide
from transport.websocket.session import WebSocketSession

SECOND = 1_000_000_000
QUIET: dict[str, Any] = {"keepalive_ns": 0, "idle_ns": 0, "handshake_ns": 0}
KEY = b"\x37\xfa\x21\x3d"  # of the RFC's own example (section 5.7)
REQUEST_KEY, REQUEST_ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # section 1.3
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame on the wire."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False


def xor(data: bytes, key: bytes) -> bytes:
    return bytes([byte ^ key[index % 4] for index, byte in enumerate(data)])


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes | None = KEY,
    size: int | None = None, width: int | None = None,
) -> bytes:  # fmt: skip
    """A frame, masked as a client's; `size` is a length that lies, `width` in how many bytes (0, 2, 8) it stands."""
    length = len(payload) if size is None else size
    if width is None:
        width = 0 if length < 126 else 2 if length < 65_536 else 8
    short = {0: length, 2: 126, 8: 127}[width]
    head = bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | short])
    head += length.to_bytes(width, "big") if width else b""
    return head + (payload if key is None else key + xor(payload, key))


def close_body(status: int, reason: bytes = b"") -> bytes:
    return status.to_bytes(2, "big") + reason


def turn(session: WebSocketSession, now: int = 0) -> None:
    """Lets a session look at what it has put off, as a driver does in its next turns."""
    while session.is_full and session.deadline() == 0:
        session.expire(now)


def frames_of(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the start of `data`, and what is left."""
    found = []
    while len(data) >= 2:
        size, at = data[1] & 127, 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        key = None
        if data[1] & 128:
            key, at = data[at : at + 4], at + 4
        if len(data) < at + size:
            break
        payload = data[at : at + size]
        found.append(
            Frame(data[0] & 15, payload if key is None else xor(payload, key), bool(data[0] & 128), data[0] >> 4 & 7,
                  key is not None)
        )  # fmt: skip
        data = data[at + size :]
    return found, data


def request(*lines: str, path: str = "/", method: str = "GET", key: bytes = REQUEST_KEY, without: str = "") -> bytes:
    """A client's request for a WebSocket; `lines` are more header lines, `without` leaves one of the usual out."""
    usual = [
        "Host: example.com", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    kept = [line for line in usual if not without or not line.lower().startswith(without.lower() + ":")]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *kept, *lines, "", ""]).encode("latin-1")


class ClientDone:
    """The HTTP side of a client that has its 101 already."""

    is_client = True
    request = None
    subprotocol = ""
    done = True
    failure = None
    trailing = b""
    due = -1

    def __init__(self, agreement: Agreement | None = None) -> None:
        self.out = bytearray()
        self.agreement = agreement

    def receive(self, data: bytes, now: int) -> None:
        self.trailing = data


class ServerDone(ClientDone):
    """The same of a server."""

    is_client = False
    over = more = ended = False

    def __init__(self, agreement: Agreement | None = None) -> None:
        super().__init__(agreement)
        self.events: list[Any] = []

    def accept(self, now: int) -> bytes:
        return b""


def config(**options: Any) -> WebSocketConfig:
    return WebSocketConfig(**{**QUIET, **options})


def server(agreement: Agreement | None = None, **options: Any) -> WebSocketSession:
    """A server's session that is open."""
    session = WebSocketSession(config(**options), ServerDone(agreement), entropy(7, "server"), 0)
    session.accept(0)
    session.events()
    return session


def client(agreement: Agreement | None = None, **options: Any) -> WebSocketSession:
    """A client's session that is open."""
    session = WebSocketSession(config(**options), ClientDone(agreement), entropy(7, "client"), 0)
    session.receive(b"", 0)
    session.events()
    return session


def listening(now: int = 0, **options: Any) -> WebSocketSession:
    """A server's session that waits for a request."""
    settings = config(**options)
    return WebSocketSession(settings, ServerSide(settings, now), entropy(7, "server"), now)


def written(session: WebSocketSession, now: int = 0) -> bytes:
    """Everything that a session has to say, in whichever way a driver asks for it."""
    out = b""
    while True:
        run = session.transmit_run()
        if run is not None:
            out += bytes(run)
            session.recycle(run)
            continue
        buffers = session.transmit(now)
        if not buffers:
            return out
        out += b"".join(map(bytes, buffers))


def said(session: WebSocketSession, now: int = 0) -> list[Frame]:
    """The frames that a session has to say; they are whole."""
    found, left = frames_of(written(session, now))
    assert left == b""
    return found


def messages(session: WebSocketSession) -> list[bytes]:
    """What has come since the last look."""
    return [payload for batch in session.take() for payload in batch.payloads]


def ended(session: WebSocketSession) -> Closed:
    """How a session ended, once and last."""
    events = session.events()
    assert isinstance(events[-1], Closed)
    assert sum(isinstance(event, Closed) for event in events) == 1
    return events[-1]


def feed(session: WebSocketSession, data: bytes, step: int = 1 << 60, now: int = 0) -> None:
    """Brings bytes in, `step` at a time."""
    for at in range(0, len(data), step):
        session.receive(data[at : at + step], now)
        turn(session, now)
