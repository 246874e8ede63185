"""The four delivery promises, and what a transport declares about itself.

Exists so that a promise is checked against declared traits at the call, never discovered from a lost packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from transport.errors import UnsupportedDelivery


class Delivery(IntEnum):
    """What is promised about one message. The values are the two bits used on the wire."""

    RELIABLE_ORDERED = 0
    RELIABLE_UNORDERED = 1
    UNRELIABLE_SEQUENCED = 2
    UNRELIABLE = 3


@dataclass(frozen=True, slots=True)
class Traits:
    """What a transport gives, declared before a byte moves.

    Args:
        reliable: every message arrives, or the connection ends with an error.
        ordered: messages of one channel arrive in the order sent.
        sequenced: the transport can drop what is older than something already delivered.
        channels: how many channels a connection has (1 means only channel 0).
        ping: `ping()` and keep-alive exist.
        close_reason: code and reason of `close()` reach the peer.
        streams: `open_stream()` exists.
        encrypted: nobody on the path reads or alters a message.
        max_message: the largest message in bytes that the transport itself allows, or None for the option's limit.
    """

    reliable: bool
    ordered: bool
    sequenced: bool = False
    channels: int = 1
    ping: bool = False
    close_reason: bool = False
    streams: bool = False
    encrypted: bool = False
    max_message: int | None = None

    def supports(self, delivery: Delivery) -> bool:
        """Whether the promise `delivery` is kept: a transport may give more than asked, never less."""
        if delivery is Delivery.RELIABLE_ORDERED:
            return self.reliable and self.ordered
        if delivery is Delivery.RELIABLE_UNORDERED:
            return self.reliable
        if delivery is Delivery.UNRELIABLE_SEQUENCED:
            return self.ordered or self.sequenced
        return True

    @property
    def default_delivery(self) -> Delivery:
        """The strongest promise that this transport keeps."""
        return next(delivery for delivery in Delivery if self.supports(delivery))

    def check(self, delivery: Delivery, scheme: str) -> None:
        """Raises UnsupportedDelivery when the promise can't be kept over `scheme`."""
        if not self.supports(delivery):
            kept = ", ".join(d.name for d in Delivery if self.supports(d))
            raise UnsupportedDelivery(f"{scheme}:// can't promise {delivery.name}; it keeps {kept}")
