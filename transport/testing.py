"""For tests of programs and protocols: a simulated network, virtual time, and the contract that transports keep.

Two ways to use it. A machine runs face to face with another, without an event loop:

    pair = Pair(Client(), Server(), SimNetwork(seed=7, link=LinkConfig(delay_ns=20 * MS_NS, loss=0.05)))
    pair.run()

A program of coroutines runs over `memory://` URLs on a loop whose time is virtual:

    run(main(), seed=7)

Either takes milliseconds of real time, and the same seed gives the same run.

A transport of your own is proved by the suite that ours are proved by; see `check_transport`:

    await check_transport(lambda: "serial:///dev/ttyUSB0", registry=Registry.default().register(SerialTransport()))

Nothing here is needed in production, so
`import transport` does not import it.
"""

from __future__ import annotations

from transport.contract.base import Check
from transport.contract.suite import check_transport, contract_checks
from transport.limits import MS_NS, SECOND_NS
from transport.sim.clock import SimClock, SkewedClock
from transport.sim.config import IP_UDP_BYTES, BurstLoss, LinkConfig
from transport.sim.errors import Deadlock, SimulationError, SimulationLimit
from transport.sim.link import Link
from transport.sim.loop import SimLoop, run
from transport.sim.network import Port, SimNetwork
from transport.sim.pair import Pair, World
from transport.sim.side import ByteSide, DatagramSide, Side
from transport.sim.trace import Fate, Trace
from transport.transports.memory import links_of

__all__ = [
    "IP_UDP_BYTES",
    "MS_NS",
    "SECOND_NS",
    "BurstLoss",
    "ByteSide",
    "Check",
    "DatagramSide",
    "Deadlock",
    "Fate",
    "Link",
    "LinkConfig",
    "Pair",
    "Port",
    "Side",
    "SimClock",
    "SimLoop",
    "SimNetwork",
    "SimulationError",
    "SimulationLimit",
    "SkewedClock",
    "Trace",
    "World",
    "check_transport",
    "contract_checks",
    "links_of",
    "run",
]
