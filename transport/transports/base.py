"""What a transport is: a scheme, its options, its declared traits, and two operations.

A transport is a record, not a hierarchy. It must never call back into `api`: `serve` and `connect` hand it a request
that says what to build on top of the pipe it opens.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from transport.delivery import Traits
from transport.drive.base import Driver, Owner
from transport.url import Option, Url


@dataclass(slots=True)
class Request:
    """Everything `connect` or `serve` was asked for, options already parsed and typed.

    Args:
        url: where to.
        options: every known option by name, only those that were given.
        framing: how messages are cut from a byte pipe: a name or an object (byte pipes only).
        codec_name: announced to the peer where the wire can.
        machine: makes the user's own machine; None for message sessions.
        sock: an inherited socket, or None.
        owner: called with (session or machine, driver, info) for every new pipe, returns its owner. On a server it may
            raise `ConnectionRefusedError` to refuse one.
    """

    url: Url
    owner: Callable[[Any, Driver, PipeInfo], Owner]
    options: Mapping[str, Any] = field(default_factory=dict)
    framing: Any = "message"
    codec_name: str = "msgpack"
    machine: Callable[[], Any] | None = None
    sock: socket.socket | None = None


@dataclass(slots=True)
class PipeInfo:
    """What a transport knows about a new pipe.

    Attributes:
        url, traits: of the connection.
        local, remote: its addresses.
        protocol, codec: in place of the server's own, where the peer has asked for something else on the same port.
    """

    url: Url
    traits: Traits
    local: Any = None
    remote: Any = None
    protocol: Callable[[], Any] | None = None
    codec: Any = None


@runtime_checkable
class Listener(Protocol):
    """A bound server socket."""

    url: Url
    """With the real port."""

    def stop(self) -> None:
        """Accepts nothing from now on; existing pipes go on."""

    async def close(self) -> None:
        """Releases everything, called when no owner is left; idempotent."""


@runtime_checkable
class Transport(Protocol):
    """One scheme."""

    scheme: str
    options: Mapping[str, Option]
    """Options of this scheme beside the common ones."""

    def traits(self, request: Request) -> Traits:
        """What connections by `request` will promise. Pure: opens nothing."""

    async def connect(self, request: Request) -> Owner:
        """Opens one pipe, calls `request.owner` and returns what that returned. Raises ConnectFailed."""

    async def listen(self, request: Request) -> Listener:
        """Binds and accepts; every pipe goes to `request.owner`. Raises OSError as the system gave it."""


def running_loop() -> asyncio.AbstractEventLoop:
    """The running loop (a name of its own so that transports need no asyncio import)."""
    return asyncio.get_running_loop()
