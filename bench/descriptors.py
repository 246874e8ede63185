"""How many sockets a process may have: an open loop has up to ten thousand connections, the usual limit is 1,024.

It must never ask for more than a process here could use, for some libraries walk over all that they may have.
"""

from __future__ import annotations

import resource

DESCRIPTORS_MAX = 1 << 17
SPARE_DESCRIPTORS = 200  # beside one for each connection


def raise_descriptors() -> None:
    """Takes as many descriptors as may be had: an open loop has up to ten thousand connections, some with two each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_MAX:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_MAX, DESCRIPTORS_MAX))
            return
        except (ValueError, OSError):
            pass  # root's alone
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed() -> int:
    """How many connections a worker can have if each takes one descriptor, as far as is known beforehand."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    return allowed - SPARE_DESCRIPTORS
