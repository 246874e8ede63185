"""`rudp://host:port`: reliable messages over UDP, all four deliveries, channels that don't hold each other up.

The record of the scheme: sockets, drivers and listeners are those of `udp`, the sessions are `transport.rudp`'s.
Nothing is encrypted: whoever sees the packets can read and forge them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint, PeerSession
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.drive.datagram import DatagramDriver
from transport.drive.roaming import Roaming
from transport.errors import InvalidURL, UnsupportedOperation
from transport.machine import ECN_ECT0, ECN_NOT_ECT, Address, Path
from transport.net.datagram_options import DatagramOptions, Granted
from transport.options import (
    SOCKET,
    Option,
    boolean,
    choice,
    duration,
    integer,
    path_or_none,
    secret_bytes,
    size,
    table,
)
from transport.rudp import sending
from transport.rudp.config import CONGESTION, RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.packet import CHECKSUM_CRC32, CHECKSUM_CRC32C, CHECKSUM_NONE
from transport.transports import seats
from transport.transports.base import Listener, Request
from transport.transports.listen import Shared
from transport.transports.seats import Seat
from transport.transports.udp import BUSY_POLL, UdpListener, UdpTransport, socket_options

IS_COMPILED = not str(sending.__file__).endswith(".py")
CHECKSUMS = {
    "auto": CHECKSUM_CRC32 | (CHECKSUM_CRC32C if IS_COMPILED else 0),  # CRC-32C in Python takes 92 us a packet
    "crc32c": CHECKSUM_CRC32 | CHECKSUM_CRC32C,
    "crc32": CHECKSUM_CRC32,
    "none": CHECKSUM_NONE | CHECKSUM_CRC32,
}
QLOGDIR = "QLOGDIR"  # the environment variable that other implementations of QUIC know, too
MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
UNMARKED = ("fixed", "none")  # congestion controls that react to no marks
SPARE_BYTES = 1 * limits.MIB  # of a window beside the largest message

QLOG = Option("qlog", path_or_none, "folder for a trace of each connection, or none; else the environment's QLOGDIR",
              keyword_only=True)  # fmt: skip
OPTIONS: Mapping[str, Option] = {
    **{name: SOCKET[name] for name in ("rcvbuf", "sndbuf", "dscp", "timestamps", "reuse_port",
                                       "ipv6_only")},
    **table(
        BUSY_POLL,
        Option("ttl", integer(0, 255), "hops that datagrams may take"),
        Option("gso", boolean, "segmentation offload, where the kernel has it", default=True),
        Option("congestion", choice(*CONGESTION), f"congestion control: {', '.join(CONGESTION)}; fixed needs rate",
               default=CONGESTION[0]),
        Option("rate", size(1, limits.RUDP_RATE_MAX), "bytes per second of congestion=fixed"),
        Option("checksum", choice("auto", "crc32c", "crc32", "none"),
               "of every packet, beside UDP's own; none where both sides say so", default="auto"),
        Option("redundancy", boolean, "small messages of thin streams ride again, so that a loss costs no wait",
               default=True),
        Option("mtu", size(limits.RUDP_DATAGRAM_BYTES_MIN, limits.RUDP_DATAGRAM_BYTES_MAX),
               "bytes that packets are filled to; found out where it is not given"),
        Option("ecn", boolean, "packets may be marked where a queue builds up, in place of being lost", default=True),
        Option("cookie", choice("never", "adaptive", "always"), "when a client has to prove its address first",
               default="adaptive"),
        Option("half_open", integer(1, limits.RUDP_HALF_OPEN_MAX), "handshakes of a server at once",
               default=limits.RUDP_HALF_OPEN_MAX),
        Option("key", secret_bytes(limits.RUDP_KEY_BYTES_MIN), "secret by which a server that was restarted says so",
               secret=True),
        Option("idle_timeout", duration(0.001, limits.TIME_S_MAX, none=True),
               "silence after which the connection ends, or none", default=limits.IDLE_NS / limits.SECOND_NS),
        QLOG,
    ),
}  # fmt: skip


def _time(options: Mapping[str, Any], name: str, default_ns: int) -> int:
    seconds = options.get(name, default_ns / limits.SECOND_NS)
    return 0 if seconds is None else max(1, round(seconds * limits.SECOND_NS))


def config_of(options: Mapping[str, Any], codec: str, rcvbuf: int, mtu_max: int) -> RudpConfig:
    """The sessions' configuration by the options of a request.

    Args:
        options: parsed and typed.
        codec: its name, announced to the peer.
        rcvbuf: bytes that the socket's receive buffer was granted; credit begins with at most half of it, and no
            datagram may have more than an eighth.
        mtu_max: up to which the path's MTU is searched for where the option does not say what it is.

    Raises:
        InvalidURL: options that contradict each other.
    """
    max_message = options.get("max_message", limits.MESSAGE_BYTES_DEFAULT)
    channel_window = options.get("channel_window", max(limits.CHANNEL_WINDOW_BYTES, max_message + SPARE_BYTES))
    connection_window = options.get("connection_window", max(limits.CONNECTION_WINDOW_BYTES, 2 * channel_window))
    congestion = options.get("congestion", CONGESTION[0])
    if (congestion == "fixed") != ("rate" in options):
        raise InvalidURL("option 'rate' goes with congestion=fixed, and that needs it")
    mtu = options.get("mtu", 0)
    largest = min(limits.RUDP_DATAGRAM_BYTES_MAX, rcvbuf // limits.RUDP_DATAGRAMS_BUFFERED)
    start = min(limits.RUDP_WINDOW_BYTES, channel_window, connection_window, max(limits.WINDOW_BYTES_MIN, rcvbuf // 2))
    return RudpConfig(
        max_message=max_message,
        channels=options.get("channels", limits.CHANNELS_MAX),
        channel_window=channel_window,
        connection_window=connection_window,
        start_window=start,
        keepalive_ns=_time(options, "keepalive", limits.KEEPALIVE_NS),
        idle_ns=_time(options, "idle_timeout", limits.IDLE_NS),
        handshake_ns=_time(options, "handshake_timeout", limits.HANDSHAKE_NS),
        codec=codec,
        congestion=congestion,
        rate=options.get("rate", 0),
        checksums=CHECKSUMS[options.get("checksum", "auto")],
        max_datagram=max(largest, limits.RUDP_DATAGRAM_BYTES_MIN),
        mtu=mtu or limits.RUDP_DATAGRAM_BYTES_MIN,
        mtu_max=mtu or mtu_max,
        ecn=options.get("ecn", True),
        redundancy=options.get("redundancy", True),
        cookie=options.get("cookie", "adaptive"),
        half_open_max=options.get("half_open", limits.RUDP_HALF_OPEN_MAX),
        sessions_max=options.get("max_connections", limits.CONNECTIONS_MAX),
        trace=_trace(options.get("qlog")),
    )


def _trace(asked: str | None) -> Callable[[Any, int], Any] | None:
    """What makes the traces of sessions, if anybody wants some: as nearly never, its modules stay unread then."""
    if asked is None and not os.environ.get(QLOGDIR):
        return None
    from transport.transports import qlog

    return qlog.folder(asked)


def reset_key(port: int) -> bytes:
    """A key for RESET packets that stays the same when a server is restarted on this machine and port.

    By the machine's id, which strangers don't know; an attacker on this machine could, but needs a connection's id
    beside it. Random where the system has no such id: then a restart is noticed by silence only.
    """
    for name in MACHINE_ID_FILES:
        try:
            with open(name, "rb") as file:
                identity = file.read(256).strip()
        except OSError:
            continue
        if identity:
            return hashlib.blake2s(b"transport reset %d" % port, key=hashlib.sha256(identity).digest()).digest()
    return os.urandom(32)


def is_loopback(address: Address) -> bool:
    """Whether a peer's address never leaves this machine."""
    host = str(address[0]).partition("%")[0]
    return host == "::1" or host.startswith("127.")


def _refuse_machine(request: Request) -> None:
    if request.machine is not None:
        raise UnsupportedOperation("rudp:// takes no machine=, its datagrams are its own; udp:// does")


class RudpTransport(UdpTransport):
    """The record of the scheme."""

    scheme = "rudp"
    options: Mapping[str, Option] = OPTIONS

    _seat: Seat | None = None

    def seated(self, seat: Seat) -> RudpTransport:
        """The same in one of several processes that serve a port."""
        made = RudpTransport()
        made._seat = seat
        return made

    def socket_options(self, request: Request, address: Address | None = None) -> DatagramOptions:
        """As `udp`, but no datagram is fragmented, or probes would tell nothing of the path; and marks for ECN, where
        there is something on the way that could change them.
        """
        given = request.options
        ecn = address is not None and given.get("ecn", True) and not is_loopback(address)
        marks = ecn and given.get("congestion") not in UNMARKED
        return replace(socket_options(request), probing=True, ecn=ecn, mark=ECN_ECT0 if marks else ECN_NOT_ECT)

    def traits(self, request: Request) -> Traits:
        """Everything but encryption."""
        return Traits(
            reliable=True, ordered=True, sequenced=True, channels=request.options.get("channels", limits.CHANNELS_MAX),
            ping=True, close_reason=True, streams=True,
        )  # fmt: skip

    async def connect(self, request: Request) -> Owner:
        """As `udp` does; the datagrams are the sessions' own, so that there is no place for a machine."""
        _refuse_machine(request)
        return await super().connect(request)

    async def listen(self, request: Request) -> Listener:
        """Likewise."""
        _refuse_machine(request)
        listener = await super().listen(request)
        if self._seat is not None:
            assert isinstance(listener, UdpListener)
            for driver in listener.drivers:
                self._seat.take(driver)
            listener.on_close = self._seat.leave
        return listener

    async def share(self, request: Request, count: int) -> Shared:
        """Sockets for `count` processes, which find the connections of each other by their ids. Raises OSError, also
        when somebody else has the port already.
        """
        port = request.url.endpoint()[1]
        for sock in await self._bind(replace(request, options={**request.options, "reuse_port": False})):
            with sock:  # unshared: with SO_REUSEPORT alone a second server would silently take half of our packets
                port = port or sock.getsockname()[1]
        url = request.url.with_port(port)
        shared = Shared(url, [], secret=reset_key(port) + os.urandom(seats.SECRET_BYTES))
        try:
            asking = replace(request, url=url, options={**request.options, "reuse_port": True})
            for _ in range(count):
                shared.groups.append(await self._bind(asking))
            for sock in shared.groups[0]:
                seats.steer(sock, count)
            shared.links = seats.links(count)
        except BaseException:
            shared.close()
            raise
        return shared

    def endpoint(self, request: Request, granted: Granted, address: Address, listening: bool) -> Endpoint:
        """The sessions of a new socket."""
        most = limits.RUDP_DATAGRAM_BYTES_MAX if granted.probing else limits.RUDP_DATAGRAM_BYTES_MIN
        config = config_of(request.options, request.codec_name, granted.rcvbuf, most)
        config = replace(config, ecn=config.ecn and not is_loopback(address))
        if self._seat is not None:
            key = request.options.get("key", b"") or self._seat.key
            made = RudpEndpoint(config, os.urandom, listening, key, self._seat.cookie_key)
            made.worker = self._seat.number
            return made
        key = request.options.get("key", b"") or (reset_key(int(address[1])) if listening else b"")
        return RudpEndpoint(config, os.urandom, listening, key)

    def session(self, endpoint: Endpoint, path: Path, now: int, sole: bool) -> PeerSession:
        """A client's session, which says HELLO with the first flush."""
        assert isinstance(endpoint, RudpEndpoint)
        return endpoint.connect(path, now)

    def roam(self, driver: DatagramDriver, target: Address) -> None:
        """The server knows a client by its connection id: it may come from elsewhere."""
        assert isinstance(driver.endpoint, RudpEndpoint)
        if os.name == "posix":
            driver.on_trouble = Roaming(target, driver.endpoint.rebound)


TRANSPORT = RudpTransport()
