"""Large datagrams, which the native socket receives into the object that they become."""

from __future__ import annotations

import pytest

from tests.net.sockets import KINDS, Keep, bound, connected, send, take


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("controls", [False, True])
def test_what_is_received_where_it_stays_is_whole_whatever_follows_it(kind: str, controls: bool) -> None:
    """Large datagrams go straight into the object that they become; small and empty ones may come in between."""
    keep = Keep()
    server = bound(kind, ecn=controls)
    client = connected(kind, server)
    sizes = [20_000, 20_000, 65_507, 1, 65_507, 0, 40_000, 16_384, 16_383, 65_507, 65_507, 300, 65_000]
    payloads = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    for payload in payloads:  # one at a time, then all at once
        send(client, payload)
        assert take(server, keep) == [payload]
    for first in range(0, len(payloads), 3):
        some = payloads[first : first + 3]
        send(client, *some)
        assert take(server, keep, len(some)) == some
    assert keep.payloads == 2 * payloads  # nothing that was handed over has changed since
    client.close()
    server.close()
