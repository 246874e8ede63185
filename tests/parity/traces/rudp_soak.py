"""A scenario of the soak: every datagram of two or more endpoints, with its size, checksum and times."""

from __future__ import annotations

from tests.soak.run import Run
from tests.soak.scenario import generate


def trace(seed: int) -> bytes:
    """The fates of all datagrams, what was delivered when, and how it ended."""
    run = Run(generate(seed), keep=100_000)
    try:
        run.play()
        end = repr(sorted(run.summary.items()))
    except Exception as error:
        end = repr(error)  # `make test` tells of it elsewhere; here both builds have to say the same
    return "\n".join([*run.network.trace.lines(), end, run.digest()]).encode()
