"""One message API over every socket, with the delivery promise chosen per message.

`import transport` gives the names below and imports what is behind one only when it is first used.
"""

from __future__ import annotations

from transport import _build  # first: it decides which build every later import takes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from transport.api import connect, run, serve
    from transport.codec.base import Codec
    from transport.codec.msgpack import MsgpackCodec
    from transport.codec.msgspec import MsgspecCodec
    from transport.delivery import Delivery, Traits
    from transport.drive.connection import Connection
    from transport.drive.lanes import Channel, IncomingStream, OutgoingStream, StreamError
    from transport.drive.protocol import Protocol
    from transport.drive.records import Received, Statistics
    from transport.drive.runner import MachineConnection
    from transport.errors import (
        CloseCode,
        CodecError,
        ConnectFailed,
        ConnectionClosed,
        ConnectionLost,
        ConnectTimeout,
        InvalidURL,
        LocalProtocolError,
        MessageTooLarge,
        ProtocolError,
        RemoteProtocolError,
        TransportError,
        UnknownScheme,
        UnsupportedDelivery,
        UnsupportedOperation,
        WouldBlock,
    )
    from transport.machine import EOF, ByteMachine, Closed, DatagramMachine, Path, Transmit
    from transport.reconnect import Backoff
    from transport.server import Server, ServerStatistics
    from transport.transports.registry import Registry
    from transport.url import Url
    from transport.websocket.http import HttpRequest, HttpResponse, SocketRoute

__version__ = _build.VERSION

_ORIGIN = {
    "transport.api": ("connect", "run", "serve"),
    "transport.codec.base": ("Codec",),
    "transport.codec.msgpack": ("MsgpackCodec",),
    "transport.codec.msgspec": ("MsgspecCodec",),
    "transport.delivery": ("Delivery", "Traits"),
    "transport.drive.connection": ("Connection",),
    "transport.drive.records": ("Received", "Statistics"),
    "transport.drive.lanes": ("Channel", "IncomingStream", "OutgoingStream", "StreamError"),
    "transport.drive.protocol": ("Protocol",),
    "transport.drive.runner": ("MachineConnection",),
    "transport.errors": (
        "CloseCode",
        "CodecError",
        "ConnectFailed",
        "ConnectTimeout",
        "ConnectionClosed",
        "ConnectionLost",
        "InvalidURL",
        "LocalProtocolError",
        "MessageTooLarge",
        "ProtocolError",
        "RemoteProtocolError",
        "TransportError",
        "UnknownScheme",
        "UnsupportedDelivery",
        "UnsupportedOperation",
        "WouldBlock",
    ),
    "transport.machine": ("EOF", "ByteMachine", "Closed", "DatagramMachine", "Path", "Transmit"),
    "transport.reconnect": ("Backoff",),
    "transport.server": ("Server", "ServerStatistics"),
    "transport.transports.registry": ("Registry",),
    "transport.url": ("Url",),
    "transport.websocket.http": ("HttpRequest", "HttpResponse", "SocketRoute"),
}
_MODULE_OF = {name: module for module, names in _ORIGIN.items() for name in names}

__all__ = [  # grouped by where they come from
    "connect", "run", "serve",
    "Codec", "MsgpackCodec", "MsgspecCodec",
    "Delivery", "Traits",
    "Connection",
    "Received", "Statistics",
    "Channel", "IncomingStream", "OutgoingStream", "StreamError",
    "Protocol", "MachineConnection",
    "CloseCode", "CodecError", "ConnectFailed", "ConnectTimeout", "ConnectionClosed", "ConnectionLost", "InvalidURL",
    "LocalProtocolError", "MessageTooLarge", "ProtocolError", "RemoteProtocolError", "TransportError", "UnknownScheme",
    "UnsupportedDelivery", "UnsupportedOperation", "WouldBlock",
    "EOF", "ByteMachine", "Closed", "DatagramMachine", "Path", "Transmit",
    "Backoff", "Server", "ServerStatistics", "Registry", "Url",
    "HttpRequest", "HttpResponse", "SocketRoute",
]  # fmt: skip


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is not None:
        from importlib import import_module

        value: object = getattr(import_module(module), name)
    elif name == "compiled":  # asked for rarely, and the answer needs a walk through the package's files
        value = _build.is_compiled()
    elif name == "testing":
        from importlib import import_module

        value = import_module("transport.testing")
    else:
        raise AttributeError(f"module 'transport' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "compiled", "testing"})
