"""A client's socket that goes along when the machine gets another address: another network, another interface.

A connected socket keeps the address that it began with, and goes on sending from it when it is no good any more. So
when sending fails, or nothing is heard, the system is asked which address it would choose now; if that is another one,
the socket is connected anew, and the session told. It must never give up an address that the system still prefers: a
peer that is silent is no reason to move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from transport import limits
from transport.machine import Address, Path
from transport.net import datagram as net

if TYPE_CHECKING:
    from transport.drive.datagram import DatagramDriver


class Roaming:
    """What the driver of a client calls when there is trouble.

    Args:
        remote: where its socket is connected to.
        rebound: told of the new path, and when (ns).

    Attributes:
        moves: how often the socket has got another address.
    """

    def __init__(self, remote: Address, rebound: Callable[[Path, int], None]) -> None:
        self.moves = 0
        self._remote = remote
        self._rebound = rebound
        self._next = 0
        self._is_cut = False  # an attempt has left the socket connected to nobody

    def __call__(self, driver: DatagramDriver) -> None:
        """Looks, at most five times a second, and moves if there is somewhere to go."""
        now = driver.now()
        if now < self._next or driver.sock.fileno() < 0:
            return
        self._next = now + limits.RUDP_ROAM_NS
        wanted = net.source_for(self._remote)
        path = driver.sock.path
        if wanted is not None and (self._is_cut or path is None or path.local is None or wanted[0] != path.local[0]):
            self.move(driver)

    def move(self, driver: DatagramDriver) -> None:
        """Connects the socket anew, from whatever address and port the system chooses."""
        try:
            local = net.reconnect(driver.sock.sock, self._remote)
        except OSError:
            self._is_cut = True  # no way there after all: the next trouble asks again
            return
        self._is_cut = False
        self.moves += 1
        driver.sock.path = Path(local, self._remote)
        self._rebound(driver.sock.path, driver.now())
        driver.wake()
