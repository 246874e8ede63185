"""Delivery promises: which a transport keeps follows from its traits alone."""

from __future__ import annotations

import pytest

from transport.delivery import Delivery, Traits
from transport.errors import UnsupportedDelivery

TCP = Traits(reliable=True, ordered=True)
UDP = Traits(reliable=False, ordered=False)
SEQUENCED = Traits(reliable=False, ordered=False, sequenced=True)
UNORDERED = Traits(reliable=True, ordered=False)


def test_the_values_are_the_bits_on_the_wire() -> None:
    assert [int(delivery) for delivery in Delivery] == [0, 1, 2, 3]
    assert Delivery(3) is Delivery.UNRELIABLE


@pytest.mark.parametrize(
    ("traits", "kept", "default"),
    [
        (TCP, set(Delivery), Delivery.RELIABLE_ORDERED),
        (UDP, {Delivery.UNRELIABLE}, Delivery.UNRELIABLE),
        (SEQUENCED, {Delivery.UNRELIABLE_SEQUENCED, Delivery.UNRELIABLE}, Delivery.UNRELIABLE_SEQUENCED),
        (UNORDERED, {Delivery.RELIABLE_UNORDERED, Delivery.UNRELIABLE}, Delivery.RELIABLE_UNORDERED),
    ],
)
def test_more_than_asked_never_less(traits: Traits, kept: set[Delivery], default: Delivery) -> None:
    assert {delivery for delivery in Delivery if traits.supports(delivery)} == kept
    assert traits.default_delivery is default
    for delivery in Delivery:
        if delivery in kept:
            traits.check(delivery, "x")
        else:
            with pytest.raises(UnsupportedDelivery, match=f"x:// can't promise {delivery.name}; it keeps .*UNRELIABLE"):
                traits.check(delivery, "x")


def test_traits_are_a_value() -> None:
    assert Traits(reliable=True, ordered=True) == TCP
    assert hash(TCP) == hash(Traits(reliable=True, ordered=True))
    assert (TCP.channels, TCP.ping, TCP.streams, TCP.encrypted, TCP.max_message) == (1, False, False, False, None)
    with pytest.raises(AttributeError):
        TCP.reliable = False  # type: ignore[misc]
