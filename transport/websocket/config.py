"""What a WebSocket session is configured with, and what its handshake has agreed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transport import limits


@dataclass(frozen=True, slots=True)
class WebSocketConfig:
    """Options of one side. Bytes and nanoseconds; 0 turns a time off.

    Args:
        max_message: largest message taken or sent, after decompression.
        text: messages are sent in text frames, otherwise in binary ones.
        fragment: messages above so many bytes are sent in fragments of that size; 0 for one frame each.
        compression: permessage-deflate is offered, or accepted (RFC 7692).
        compress_above: shorter messages are not compressed.
        window_bits: of this side's compressor, 9 to 15.
        context_takeover: whether compressors may remember earlier messages.
        keepalive_ns: silence after which the peer is pinged.
        idle_ns: silence after which the connection ends.
        handshake_ns: time for a request's head and body, or for the server's answer.
        subprotocols: offered by a client, known to a server; the most wanted first.
        origins: that a server takes beside its own, or None for no other, or () for any.
        path: of the WebSocket, decoded; "" for any that is no route (server).
        routes: plain HTTP answers by path (server).
        body_max: largest body of a request (server).
        date: gives the time for answers, as HTTP writes it (server).
        counts: kept up by every session of one listener (server).
        secure: the pipe is encrypted.
    """

    max_message: int = limits.MESSAGE_BYTES_DEFAULT
    text: bool = False
    fragment: int = 0
    compression: bool = False
    compress_above: int = limits.WS_COMPRESS_ABOVE_BYTES
    window_bits: int = limits.WS_WINDOW_BITS
    context_takeover: bool = True
    keepalive_ns: int = limits.KEEPALIVE_NS
    idle_ns: int = limits.IDLE_NS
    handshake_ns: int = limits.HANDSHAKE_NS
    subprotocols: tuple[str, ...] = ()
    origins: tuple[str, ...] | None = None
    path: str = ""
    routes: Mapping[str, Any] = field(default_factory=dict)
    body_max: int = limits.HTTP_BODY_BYTES_MAX
    date: Callable[[], str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    secure: bool = False

    def count(self, name: str) -> None:
        """Adds one to the counter `name`."""
        self.counts[name] = self.counts.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """How both sides compress (RFC 7692 section 7.1). Window sizes as powers of two.

    Args:
        own_bits, own_takeover: of what this side sends.
        peer_bits, peer_takeover: of what it receives.
    """

    own_bits: int
    own_takeover: bool
    peer_bits: int
    peer_takeover: bool
