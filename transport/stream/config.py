"""What a stream session is configured with."""

from __future__ import annotations

from dataclasses import dataclass

from transport import limits


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Limits and times of one session. Bytes and nanoseconds; 0 turns a time off."""

    max_message: int = limits.MESSAGE_BYTES_DEFAULT
    channels: int = limits.CHANNELS_MAX
    channel_window: int = limits.CHANNEL_WINDOW_BYTES
    connection_window: int = limits.CONNECTION_WINDOW_BYTES
    stream_window: int = limits.STREAM_WINDOW_BYTES
    keepalive_ns: int = limits.KEEPALIVE_NS
    idle_ns: int = limits.IDLE_NS
    handshake_ns: int = limits.HANDSHAKE_NS
    codec: str = ""
