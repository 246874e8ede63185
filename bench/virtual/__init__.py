"""The benchmark in virtual time: every protocol that moves no bytes by itself, open loop, over one simulated link."""

from __future__ import annotations

import importlib

from bench.peers import pick
from bench.virtual.machine import VirtualPeer

MODULES = ("ours", "kcp", "aioquic", "qh3")


def all_peers() -> dict[str, VirtualPeer]:
    """Every peer by name, in the order of the tables; no library but our own is imported."""
    found: dict[str, VirtualPeer] = {}
    for module in MODULES:
        for peer in importlib.import_module(f"bench.virtual.{module}").PEERS:
            assert peer.name not in found, f"two peers are called {peer.name}"
            found[peer.name] = peer
    return found


def select(names: list[str]) -> list[VirtualPeer]:
    """Peers by exact name or by prefix ending in "*", in the order of the tables. Raises KeyError."""
    return pick(all_peers(), names)
