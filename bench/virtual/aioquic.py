"""aioquic: QUIC in Python, with its default congestion control, Reno."""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.virtual.quic import QuicPeer


class AioQuic(QuicPeer):
    """aioquic.quic.connection.QuicConnection."""

    modules = ("aioquic",)
    distributions = ("aioquic",)
    note = "encrypted; keys and connection ids come from the system, so bytes on the wire differ from run to run"

    def connection(self, is_client: bool, original: bytes | None) -> Any:
        """See `QuicPeer`."""
        from aioquic.quic.configuration import QuicConfiguration
        from aioquic.quic.connection import QuicConnection

        configuration = self.configure(QuicConfiguration(is_client=is_client))
        if is_client:
            return QuicConnection(configuration=configuration)
        return QuicConnection(configuration=configuration, original_destination_connection_id=original)


PEERS = [
    AioQuic("aioquic", "aioquic, one stream"),
    AioQuic("aioquic-streams", "aioquic, a stream a message", per_message=True),
]
