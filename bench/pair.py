"""The two processes of one peer in one round: started, introduced to each other, asked for what they saw.

Exists apart from the rounds so that two peers can share one link at the same time. It must never wait without a
deadline.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from time import monotonic
from typing import Any

from bench.cases import Case
from bench.child import Child
from bench.job import LOOPBACK, OPEN_FINISH_S
from bench.link.emulator import Emulator
from bench.peers.base import Peer

STARTUP_S = 20.0  # importing, listening, connecting, on a busy machine


@dataclass(frozen=True, slots=True)
class Placement:
    """Which cores the two sides may use; empty sets leave them free."""

    client: frozenset[int]
    server: frozenset[int]

    @property
    def cores(self) -> frozenset[int]:
        """Both together."""
        return self.client | self.server


@dataclass(frozen=True, slots=True)
class Terms:
    """What both processes are told beside the case.

    Args:
        seconds: measured; `warmup` comes before it.
        seed: of messages and plans.
        scratch: a folder of this round.
    """

    placement: Placement
    seconds: float
    warmup: float
    seed: int
    scratch: str


class Pair:
    """Client and server of `peer`, or both in one process.

    Args:
        stack: ends the processes on its way out.
        link: between them; None for loopback.
    """

    def __init__(
        self, stack: contextlib.ExitStack, case: Case, peer: Peer, terms: Terms, link: Emulator | None = None
    ) -> None:
        self.case = case
        self.peer = peer
        self.terms = terms
        self.deadline = monotonic() + STARTUP_S + terms.warmup + terms.seconds * 2
        roles = ["both"] if peer.one_process else ["server", "client"]
        self.children = {role: stack.enter_context(Child(role)) for role in roles}
        for role, child in self.children.items():
            child.tell(self._job(role, link))

    def _job(self, role: str, link: Emulator | None) -> dict[str, Any]:
        placement = self.terms.placement
        return {
            "peer": self.peer.name,
            "module": type(self.peer).__module__,
            "case": self.case.as_dict(),
            "role": role,
            "scratch": self.terms.scratch,
            "seed": self.terms.seed,
            "seconds": self.terms.seconds,
            "warmup": self.terms.warmup,
            "pids": {name: child.pid for name, child in self.children.items()},
            "cores": sorted(placement.cores),
            "pin": sorted(placement.server if role == "server" else placement.client),
            "host": LOOPBACK if link is None else link.host(role),
            "namespace": None if link is None else link.namespace(role),
        }

    @property
    def sending(self) -> Child:
        """The process that offers the load."""
        return self.children.get("both") or self.children["server" if self.case.fanout > 1 else "client"]

    @property
    def receiving(self) -> Child:
        """The one that gets it."""
        return self.children.get("both") or self.children["client" if self.case.fanout > 1 else "server"]

    def introduce(self) -> None:
        """Tells the client where the server listens; from here on they run. Raises ChildFailed."""
        if "both" not in self.children:
            self.children["client"].tell({"address": self.children["server"].hear("ready", self.deadline)})

    def said(self) -> Any:
        """What the sending side has to say at the end. Raises ChildFailed."""
        return self.sending.hear("result", self.deadline)

    def got(self, sent: int) -> Any:
        """What the receiving side got of `sent` messages, once all has arrived or nothing more does.

        Raises:
            ChildFailed: it did not say.
        """
        self.receiving.tell({"do": "finish", "expected": sent if self.peer.reliable else None})
        return self.receiving.hear("finished", monotonic() + STARTUP_S + OPEN_FINISH_S)
