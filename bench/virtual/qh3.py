"""qh3: the fork of aioquic whose packet core is written in Rust."""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.virtual.quic import QuicPeer


class Qh3(QuicPeer):
    """qh3.quic.connection.QuicConnection."""

    modules = ("qh3",)
    distributions = ("qh3",)
    note = "encrypted; keys and connection ids come from the system, so bytes on the wire differ from run to run"

    def connection(self, is_client: bool, original: bytes | None) -> Any:
        """See `QuicPeer`."""
        from qh3.quic.configuration import QuicConfiguration
        from qh3.quic.connection import QuicConnection

        configuration = self.configure(QuicConfiguration(is_client=is_client))
        if is_client:
            return QuicConnection(configuration=configuration)
        return QuicConnection(configuration=configuration, original_destination_connection_id=original)


PEERS = [
    Qh3("qh3", "qh3, one stream"),
    Qh3("qh3-streams", "qh3, a stream a message", per_message=True),
]
