"""Reliable UDP over the datagrams of a simulated link: `memory://name?loss=0.05&rudp=true`.

The sessions are those of `rudp://`; what is random in them follows from a seed, so that a run repeats exactly. A module
of its own so that `memory://` without it loads none of this. It must never ask the system for anything, but for a place
to put traces that somebody wants.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.seeds import entropy
from transport.transports.base import Request
from transport.transports.memory_link import OPTIONS
from transport.transports.rudp import TRANSPORT, config_of

LINK_ONLY = ("rate", "mtu")  # of the link here, of the sessions in `rudp://`; a link with an MTU has it searched for


def traits(request: Request) -> Traits:
    """What `rudp://` promises."""
    return TRANSPORT.traits(request)


def make_endpoint(request: Request, address: Any, seed: int, *, listening: bool) -> RudpEndpoint:
    """The endpoint of a socket at `address`, whose ids, cookies and keys follow from `seed`.

    Raises:
        InvalidURL: options that contradict each other.
    """
    options = {name: value for name, value in request.options.items() if name not in LINK_ONLY}
    options.setdefault("checksum", OPTIONS["checksum"].default)
    most = limits.RUDP_DATAGRAM_BYTES_MAX if "mtu" in request.options else limits.RUDP_DATAGRAM_BYTES_MIN
    config = config_of(options, request.codec_name, limits.MEMORY_INBOX_BYTES, most)
    return RudpEndpoint(config, entropy(seed, f"rudp {address!r}"), listening)
