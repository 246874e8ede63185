"""QUIC by aioquic and by qh3, its fork with a packet core in Rust: one connection object an end, with times as floats.

Messages go over one stream, a length before each, or each over a stream of its own. It must never give a library a time
that is not later than the one it asked for: a timer that fires at its very instant is no timer to some of them.
"""

from __future__ import annotations

import importlib
import math
import ssl
from collections.abc import Callable
from typing import Any

from bench.peers.certificate import CERTIFICATE, KEY
from bench.virtual.machine import Entropy, VirtualMachine, VirtualPeer
from transport import limits

ALPN = ["bench"]
CLIENT, SERVER = ("192.0.2.1", 4433), ("192.0.2.2", 4433)
LENGTH_BYTES = 2
CID_LENGTH_AT = 5  # of a long header: flags, version, then the length of the destination's connection id
SECOND = limits.SECOND_NS


class QuicMachine(VirtualMachine):
    """One end.

    Args:
        make: makes the connection object; of the server by the connection id in the client's first packet.
        remote: the other end's address, which the library wants to know.
        per_message: a stream for each message.
    """

    def __init__(self, make: Callable[[bytes | None], Any], remote: tuple[str, int], per_message: bool) -> None:
        self._make = make
        self._remote = remote
        self._per_message = per_message
        self._connection: Any = None
        self._stream: int | None = None
        self._incoming: dict[int, bytearray] = {}
        self._messages: list[bytes] = []

    def connect(self, now: int) -> None:
        """See `VirtualMachine`."""
        self._connection = self._make(None)
        self._connection.connect(self._remote, now / SECOND)

    def send(self, message: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        connection = self._connection
        if self._per_message:
            stream = connection.get_next_available_stream_id(is_unidirectional=True)
            connection.send_stream_data(stream, message, end_stream=True)
            return
        if self._stream is None:
            self._stream = connection.get_next_available_stream_id(is_unidirectional=True)
        connection.send_stream_data(self._stream, len(message).to_bytes(LENGTH_BYTES, "big") + message)

    def receive(self, datagram: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        if self._connection is None:
            start = CID_LENGTH_AT + 1
            self._connection = self._make(datagram[start : start + datagram[CID_LENGTH_AT]])
        self._connection.receive_datagram(datagram, self._remote, now / SECOND)
        self._collect()

    def deadline(self) -> int | None:
        """See `VirtualMachine`. The first nanosecond after the library's own time."""
        timer = None if self._connection is None else self._connection.get_timer()
        if timer is None:
            return None
        due: int = math.floor(timer * SECOND)
        while due / SECOND <= timer:
            due += 1
        return due

    def expire(self, now: int) -> None:
        """See `VirtualMachine`."""
        self._connection.handle_timer(now / SECOND)
        self._collect()

    def output(self, now: int) -> list[bytes]:
        """See `VirtualMachine`."""
        if self._connection is None:
            return []
        return [data for data, _address in self._connection.datagrams_to_send(now / SECOND)]

    def take(self) -> list[bytes]:
        """See `VirtualMachine`."""
        messages = self._messages
        self._messages = []
        return messages

    def _collect(self) -> None:
        """Events are told apart by their names, which are the same in all libraries of this interface."""
        while (event := self._connection.next_event()) is not None:
            name = type(event).__name__
            if name == "StreamDataReceived":
                self._on_data(event.stream_id, event.data, event.end_stream)
            elif name == "HandshakeCompleted":
                self.is_open = True
            elif name == "ConnectionTerminated":
                self.is_open = False
                self.broken = f"closed: {event.reason_phrase or event.error_code}"

    def _on_data(self, stream: int, data: bytes, is_end: bool) -> None:
        got = self._incoming.setdefault(stream, bytearray())
        got += data
        if self._per_message:
            if is_end:
                self._messages.append(bytes(self._incoming.pop(stream)))
            return
        start = 0
        while len(got) - start >= LENGTH_BYTES:
            body = start + LENGTH_BYTES
            end = body + int.from_bytes(got[start:body], "big")
            if end > len(got):
                break
            self._messages.append(bytes(got[body:end]))
            start = end
        del got[:start]


class QuicPeer(VirtualPeer):
    """A library of this interface, with one stream or with one for each message.

    Args:
        package: aioquic or qh3.
        per_message: a stream for each message, which no other message holds up.
    """

    note = "encrypted; keys and connection ids come from the system, so bytes on the wire differ from run to run"

    def __init__(self, package: str, per_message: bool = False) -> None:
        self.name = f"{package}-streams" if per_message else package
        self.title = f"{package}, a stream a message" if per_message else f"{package}, one stream"
        self.modules = (package,)
        self.distributions = (package,)
        self.per_message = per_message
        self.ordered = not per_message

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "streams": "one for each message" if self.per_message else f"one, {LENGTH_BYTES} B of length a message",
            "TLS": "1.3, the certificate is not checked; the handshake crosses the link, too",
            "everything else": "the library's defaults",
        }

    def connection(self, is_client: bool, original: bytes | None) -> Any:
        """A connection object; `original` is the connection id that the client chose for the server."""
        (package,) = self.modules
        configuration = importlib.import_module(f"{package}.quic.configuration").QuicConfiguration(is_client=is_client)
        configuration.alpn_protocols = ALPN
        configuration.verify_mode = ssl.CERT_NONE
        make = importlib.import_module(f"{package}.quic.connection").QuicConnection
        if is_client:
            return make(configuration=configuration)
        configuration.load_cert_chain(CERTIFICATE, KEY)
        return make(configuration=configuration, original_destination_connection_id=original)

    def pair(self, entropy: Entropy) -> tuple[VirtualMachine, VirtualMachine]:
        """See `VirtualPeer`."""
        return (
            QuicMachine(lambda original: self.connection(True, original), SERVER, self.per_message),
            QuicMachine(lambda original: self.connection(False, original), CLIENT, self.per_message),
        )


PEERS = [QuicPeer(package, per_message) for package in ("aioquic", "qh3") for per_message in (False, True)]
