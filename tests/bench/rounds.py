"""One short round in real processes."""

from __future__ import annotations

from typing import Any

from bench.cases import Case
from bench.peers.base import Peer
from bench.runner import Entry, Plan, run_round

SHORT: dict[str, Any] = {"rounds": 1, "seconds": 0.15, "warmup": 0.05, "seed": 3}


def one_round(case: Case, peer: Peer) -> dict[str, Any]:
    """Runs `peer` once; the round as it stands in a result file."""
    plan = Plan([(case, [Entry(peer.name, peer)])], **SHORT)
    return run_round(plan, case, plan.work[0][1][0], 0, 0)
