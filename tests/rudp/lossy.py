"""A reliable UDP endpoint in front of which datagrams get lost, for tests on real sockets."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from transport.datagram.base import Endpoint
from transport.machine import Address, Path
from transport.net.datagram_options import Granted
from transport.rudp.endpoint import RudpEndpoint
from transport.transports.base import Request
from transport.transports.registry import Registry
from transport.transports.rudp import RudpTransport, reset_key

Drops = Callable[[bytes], bool]


class LossyEndpoint(RudpEndpoint):
    """Drops what `drops` says before anybody sees it."""

    drops: Drops
    lost = 0

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.receive_many([data], path, ecn, now)

    def receive_one(self, payload: bytes, path: Path, ecn: int, now: int) -> None:
        self.receive_many([payload], path, ecn, now)

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        kept = [data for data in payloads if not self.drops(data)]
        self.lost += len(payloads) - len(kept)
        super().receive_many(kept, path, ecn, now)


class LossyTransport(RudpTransport):
    """`rudp://` whose sockets lose what comes in."""

    def __init__(self, drops: Drops) -> None:
        self.drops = drops
        self.endpoints: list[LossyEndpoint] = []

    def endpoint(self, request: Request, granted: Granted, address: Address, listening: bool) -> Endpoint:
        made: Any = super().endpoint(request, granted, address, listening)
        key = request.options.get("key", b"") or reset_key(address[1])
        lossy = LossyEndpoint(made.config, os.urandom, listening, key)
        lossy.drops = self.drops
        self.endpoints.append(lossy)
        return lossy


def losing(share: float, seed: int) -> LossyTransport:
    """Loses each datagram with probability `share`."""
    rng = random.Random(seed)
    return LossyTransport(lambda _: rng.random() < share)


def registry(transport: RudpTransport) -> Registry:
    """A registry in which `rudp://` is `transport`."""
    return Registry.default().register(transport)
