"""The peers, by name. A new one is a file here and a line in `MODULES`; see `bench/README.md`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, TypeVar

from bench.peers.base import Peer

T = TypeVar("T")
MODULES = (
    "native",
    "blocking",
    "streams",
    "protocols",
    "tcp",
    "datagrams",
    "multiproc",
    "zeromq",
    "nng",
    "enet",
    "kcp",
    "quic",
    "grpcaio",
    "nats",
    "websocket",
    "picows",
    "socketio",
    "ours",
    "codec",
)


def all_peers() -> dict[str, Peer]:
    """Every peer by name, in the order of the tables; nothing but our own modules is imported."""
    return named(f"bench.peers.{module}" for module in MODULES)


def named(modules: Iterable[str]) -> dict[str, Any]:
    """The peers of each module's `PEERS`, by name."""
    found: dict[str, Any] = {}
    for module in modules:
        for peer in importlib.import_module(module).PEERS:
            assert peer.name not in found, f"two peers are called {peer.name}"
            found[peer.name] = peer
    return found


def load_peer(name: str, module: str) -> Peer:
    """The peer called `name` out of one module; nothing else is imported, so that a worker starts fast."""
    peers: list[Peer] = importlib.import_module(module).PEERS
    return next(peer for peer in peers if peer.name == name)


def select(names: list[str]) -> list[Peer]:
    """Peers by name, see `pick`. Raises KeyError."""
    return pick(all_peers(), names)


def pick(found: dict[str, T], names: list[str]) -> list[T]:
    """Of peers by name those called `names`, exactly or by a prefix ending in "*", in the order of `found`.

    Raises:
        KeyError: a name that matches nothing; the text lists the known ones.
    """
    chosen = set()
    for name in names:
        matches = [peer for peer in found if peer == name or (name.endswith("*") and peer.startswith(name[:-1]))]
        if not matches:
            raise KeyError(f"no peer {name!r}; there are: {', '.join(found)}")
        chosen.update(matches)
    return [peer for name, peer in found.items() if name in chosen]
