"""A network of its own for one piece of work, so that what it tells the kernel of addresses is nobody else's concern.

A thread has its own network namespace, with nothing but a loopback, which ends with the thread and the sockets.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1
_REQUEST = struct.Struct("16sh14x")

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """Calls `work` there. Raises PermissionError without the privilege, and whatever `work` does."""

    def run() -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            code = ctypes.get_errno()
            raise PermissionError(code, f"no network namespace: {os.strerror(code)}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            name, flags = _REQUEST.unpack(fcntl.ioctl(sock, SIOCGIFFLAGS, _REQUEST.pack(b"lo", 0)))
            fcntl.ioctl(sock, SIOCSIFFLAGS, _REQUEST.pack(name, flags | IFF_UP))
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
