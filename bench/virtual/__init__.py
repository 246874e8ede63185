"""The benchmark in virtual time: every protocol that moves no bytes by itself, open loop, over one simulated link."""

from __future__ import annotations

from bench.peers import named, pick
from bench.virtual.machine import VirtualPeer

MODULES = ("ours", "kcp", "quic")


def all_peers() -> dict[str, VirtualPeer]:
    """Every peer by name, in the order of the tables; no library but our own is imported."""
    return named(f"bench.virtual.{module}" for module in MODULES)


def select(names: list[str]) -> list[VirtualPeer]:
    """Peers by exact name or by prefix ending in "*", in the order of the tables. Raises KeyError."""
    return pick(all_peers(), names)
