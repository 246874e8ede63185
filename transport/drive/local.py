"""A Unix socket's driver: one that also knows who is at the other end.

Exists so that the byte path of every other socket stays free of it.
"""

from __future__ import annotations

from typing import Any

from transport.drive.base import Owner
from transport.drive.stream import SocketDriver
from transport.net.stream import peer_credentials


class LocalDriver(SocketDriver):
    """A `SocketDriver` on a Unix socket."""

    def info(self, owner: Owner, name: str) -> Any:
        """Also "peercred": process, user and group that connected or listened, as `PeerCredentials`."""
        if name == "peercred":
            return peer_credentials(self.sock)
        return SocketDriver.info(self, owner, name)
