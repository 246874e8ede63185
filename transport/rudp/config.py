"""What a reliable UDP session is configured with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transport import limits

CONGESTION = ("cubic", "bbr", "newreno", "fixed", "none")
"""Names of the congestion controllers, the default first; `congestion.make` makes them."""


@dataclass(frozen=True, slots=True)
class RudpConfig:
    """Limits, times and choices of one session. Bytes and nanoseconds; 0 turns a time off.

    Args:
        max_message: largest message taken or sent.
        channels: how many the peer may use.
        channel_window, connection_window: what their credit may grow to.
        start_window: what it begins with, at most half of the socket's receive buffer.
        stream_window: credit of a stream.
        keepalive_ns, idle_ns, handshake_ns: silence until a ping, until the end; time for the handshake.
        codec: announced to the peer.
        congestion: one of `CONGESTION`.
        rate: bytes per second of "fixed".
        checksums: bit mask of what is accepted, see `packet`.
        max_datagram: largest UDP payload taken.
        mtu: UDP payload that packets are filled to at first, at most the peer's `max_datagram`. Over 1,200 it must be
            known that the path carries it.
        mtu_max: up to which a larger one is searched for; no search where it is not above `mtu`.
        ecn: whether packets are marked as ECN-capable, where congestion control reacts to what becomes of the marks.
        redundancy: whether small messages of thin streams ride again by themselves.
        skips: whether packet numbers are left out at random, so that who acknowledges more than it got is found.
        cookie: "never", "adaptive" or "always" ask a client to prove its address first.
        half_open_max: handshakes of a server at once.
        sessions_max: sessions of an endpoint at once.
        trace: makes the trace of a new session, see `trace.Trace`: called with the session and the present (ns),
            returns None for none.
    """

    max_message: int = limits.MESSAGE_BYTES_DEFAULT
    channels: int = limits.CHANNELS_MAX
    channel_window: int = limits.CHANNEL_WINDOW_BYTES
    connection_window: int = limits.CONNECTION_WINDOW_BYTES
    start_window: int = limits.RUDP_WINDOW_BYTES
    stream_window: int = limits.STREAM_WINDOW_BYTES
    keepalive_ns: int = limits.KEEPALIVE_NS
    idle_ns: int = limits.IDLE_NS
    handshake_ns: int = limits.HANDSHAKE_NS
    codec: str = ""
    congestion: str = CONGESTION[0]
    rate: int = 0
    checksums: int = 2
    max_datagram: int = limits.RUDP_DATAGRAM_BYTES_MAX
    mtu: int = limits.RUDP_DATAGRAM_BYTES_MIN
    mtu_max: int = limits.RUDP_DATAGRAM_BYTES_MIN
    ecn: bool = True
    redundancy: bool = True
    skips: bool = True
    cookie: str = "adaptive"
    half_open_max: int = limits.RUDP_HALF_OPEN_MAX
    sessions_max: int = limits.CONNECTIONS_MAX
    trace: Callable[[Any, int], Any] | None = None
