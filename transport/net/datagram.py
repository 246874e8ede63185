"""UDP sockets opened, and the portable implementation of `DatagramSocket`.

The native one (`_native.DatagramSocket`) does the same with fewer and cheaper system calls; both are run by the same
tests. What is taken over is never left half open: a socket whose options are refused is closed by whoever made it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from dataclasses import replace
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint
from transport.machine import Address, Path, Transmit
from transport.net import datagram_options as names
from transport.net.datagram_base import DatagramSocket, Entry, Outgoing
from transport.net.datagram_options import DatagramOptions, Granted

try:
    from transport.net._native import DatagramSocket as NativeDatagramSocket
except ImportError:  # portable build
    NativeDatagramSocket = None

SMALL_BYTES = 4096  # after a single datagram up to this size there is seldom another
READS_PER_CALL = 16
PROBE_EVERY = 8  # so often a socket that gets single datagrams is asked for more
MANY = 8  # datagrams waiting at once, from which on receive offload is worth its price
SEGMENT_ALWAYS_FITS = 548  # a kernel that refuses to cut segments of this size refuses all
WAIT = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
GONE = frozenset({errno.EBADF, errno.ENOTSOCK})
OFFLOAD_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})
LATE = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOPROTOOPT,
                  errno.EPROTO, errno.EMSGSIZE})  # fmt: skip
"""Errors that most likely tell of an earlier datagram's fate."""

_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err
_TIME = struct.Struct("@ll")
_ORIGIN_ICMP = frozenset({2, 3})
_HAS_MESSAGES = hasattr(socket.socket, "recvmsg_into") and names.LINUX
_MSG_ERRQUEUE = getattr(socket, "MSG_ERRQUEUE", 0)
_CONTROL_BYTES = 256
_SOCKADDR_BYTES = 16


class PortableDatagramSocket(DatagramSocket):
    """`DatagramSocket` by the standard library: ancillary data where the system has it, else plain datagrams."""

    def __init__(self, sock: socket.socket, path: Path | None = None, local: Address | None = None, *,
                 pktinfo: bool = False, marks: bool = False, stamps: bool = False, gso: bool = True, tos: int = 0,
                 mark: int = 0, probing: bool = False, room: int = limits.DATAGRAM_BYTES_MAX + 1) -> None:  # fmt: skip
        if not 0 < room <= limits.DATAGRAM_BYTES_MAX + 1:
            raise ValueError("room of a datagram outside 1..65536")
        DatagramSocket.__init__(self, sock, path, local)
        self.segment_max = limits.GSO_BYTES_MAX if gso and _HAS_MESSAGES else 0
        self._family = sock.family
        self._port = sock.getsockname()[1]
        self._pktinfo = pktinfo and _HAS_MESSAGES
        self._stamps = stamps
        self._controls = False
        self._gro = gso and _HAS_MESSAGES
        self._tos = tos
        self._mark = mark
        self._probing = probing
        self._want = 1
        self._singles = 0
        self._room = bytearray(room + 1)  # by the byte over the room a truncated datagram shows without control data
        self._view = memoryview(self._room)
        self._paths: dict[tuple[Address, Address | None], Path] = {}
        self._latest: dict[Address, Path] = {}
        if _HAS_MESSAGES and (pktinfo or marks or stamps):
            self._coalesce()

    def _coalesce(self) -> None:
        """Receive offload (UDP_GRO). It needs control data, which cost as much as the rest of reading a datagram, so a
        socket that wants none for another reason waits with it until datagrams come in numbers. It stays on: a
        coalesced train that was read without control data would be one message.
        """
        self._controls = _HAS_MESSAGES
        if self._gro:
            self._gro = False
            names.set_quietly(self.sock, names.SOL_UDP, names.UDP_GRO, 1)

    def receive(self, sink: Endpoint, now: int) -> int:
        """One batch of what has arrived; as many reads as the last batch makes likely to find something."""
        self.more = False
        payloads: list[bytes] = []
        last: tuple[Path, int, int] | None = None
        reads = total = count = 0
        while reads < self._want and total < limits.RECEIVE_BEFORE_TRANSMIT_BYTES:
            got = self._read()
            if got is None:
                break
            reads += 1
            if not got[3]:
                continue
            total += sum(map(len, got[3]))
            count += len(got[3])
            if last is None or got[0] is not last[0] or got[1:3] != last[1:]:
                if last is not None:
                    sink.stamp = last[2]
                    sink.receive_many(payloads, last[0], last[1], now)
                payloads, last = got[3], got[:3]
            else:
                payloads.extend(got[3])
        self._adapt(reads, total)
        if last is not None:
            sink.stamp = last[2]
            sink.receive_many(payloads, last[0], last[1], now)
        return count

    def _adapt(self, reads: int, total: int) -> None:
        """How many reads to try next: one when datagrams come one by one, for the second finds nothing then."""
        self.received_bytes = total
        if reads >= MANY and not self._controls:
            self._coalesce()
        if reads > 1 or total > SMALL_BYTES:
            self.more = self.more or reads == self._want or total >= limits.RECEIVE_BEFORE_TRANSMIT_BYTES
            self._want = READS_PER_CALL
        elif reads:
            self._singles += 1
            self._want = 2 if self._singles % PROBE_EVERY == 0 else 1

    def _read(self) -> tuple[Path, int, int, list[bytes]] | None:
        """One message of the kernel: path, mark, timestamp, and its datagrams (none when it was truncated)."""
        if self.sock.fileno() < 0:
            return None
        for _ in range(limits.SOCKET_ERRORS_PER_CALL):
            try:
                if self._controls:
                    size, control, _, address = self.sock.recvmsg_into([self._room], _CONTROL_BYTES)
                else:
                    size, address = self.sock.recvfrom_into(self._room)
                    control = []
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno in WAIT:
                    self._drain()  # perhaps it was an error that woke the loop
                    return None
                self._asynchronous(error.errno or 0)
            else:
                return self._burst(size, control, address)
        self.more = True
        return None

    def _burst(
        self, size: int, control: list[tuple[int, int, bytes]], address: Address
    ) -> tuple[Path, int, int, list[bytes]]:
        segment, ecn, stamp = size, 0, 0
        local = self.local
        for level, kind, data in control:
            if level == names.SOL_UDP and kind == names.UDP_GRO:
                segment = int.from_bytes(data[:4], "little")
            elif (level == socket.IPPROTO_IP and kind == socket.IP_TOS) or (
                level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS
            ):
                ecn = data[0] & 3
            elif level == socket.IPPROTO_IP and kind == names.IP_PKTINFO and self._pktinfo:
                local = (socket.inet_ntop(socket.AF_INET, data[4:8]), self._port)
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and self._pktinfo:
                if data[0] != 0xFF:  # nobody can answer from a group's address
                    link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
                    index = struct.unpack("@I", data[16:20])[0] if link_local else 0
                    local = (socket.inet_ntop(socket.AF_INET6, data[:16]), self._port, 0, index)
            elif level == socket.SOL_SOCKET and kind == names.SO_TIMESTAMPNS and self._stamps:
                seconds, nanoseconds = _TIME.unpack(data[: _TIME.size])
                stamp = seconds * limits.SECOND_NS + nanoseconds
        path = self.path if self.path is not None else self._intern(address, local)
        if size == len(self._room):
            self.truncated += 1
            return path, ecn, stamp, []
        view = self._view
        if not 0 < segment < size:
            return path, ecn, stamp, [bytes(view[:size])]
        payloads = [bytes(view[start : min(start + segment, size)]) for start in range(0, size, segment)]
        return path, ecn, stamp, payloads

    def _intern(self, address: Address, local: Address | None) -> Path:
        """The one `Path` of these addresses, from a bounded cache: oldest out."""
        if len(address) == 4 and address[2]:
            address = (address[0], address[1], 0, address[3])
        path = self._paths.get((address, local))
        if path is None:
            if len(self._paths) >= limits.PATHS_CACHED_MAX:
                oldest = self._paths.pop(next(iter(self._paths)))
                if oldest.remote is not None and self._latest.get(oldest.remote) is oldest:
                    del self._latest[oldest.remote]
            path = Path(local, address)
            self._paths[address, local] = path
            self._latest[address] = path
        return path

    def _asynchronous(self, code: int) -> None:
        """An earlier datagram's fate, told by a read."""
        if code in GONE:
            raise OSError(code, "the socket is gone")
        self.disturbed = True
        if not self._drain() and self.path is not None and not (self._probing and code == errno.EMSGSIZE):
            self.errors.append((self.path, code))

    def _drain(self) -> int:
        """Empties the error queue (`IP_RECVERR`), which knows the destination of the datagram that failed."""
        found = 0
        if not _HAS_MESSAGES:
            return found
        for _ in range(limits.SOCKET_ERRORS_PER_CALL):
            try:
                _, control, _, address = self.sock.recvmsg(8, 512, _MSG_ERRQUEUE)
            except OSError:
                break
            self.disturbed = True  # uvloop stops watching a descriptor that had an error
            for level, kind, data in control:
                if (level == socket.IPPROTO_IP and kind == names.IP_RECVERR) or (
                    level == socket.IPPROTO_IPV6 and kind == names.IPV6_RECVERR
                ):
                    code, origin = _ERROR.unpack(data[: _ERROR.size])[:2]
                    if self._probing and code == errno.EMSGSIZE:
                        continue  # anybody can forge what ICMP says of the path's MTU
                    if origin in _ORIGIN_ICMP:
                        self.errors.append((self._path_of(address), code))
                        found += 1
        return found

    def _path_of(self, address: Address) -> Path:
        if self.path is not None:
            return self.path
        if len(address) == 4:
            address = (address[0], address[1], 0, address[3])
        return self._latest.get(address) or Path(self.local, address)

    def send(self, batch: Outgoing) -> bool:
        """Sends a batch; see `DatagramSocket.send`."""
        if self.sock.fileno() < 0:
            batch.first = batch.count
        with memoryview(batch.room) as view:
            while batch.first < batch.count:
                item = batch.entries[batch.first]
                size, offset = item.size, item.offset
                if size < 0 or offset < 0 or size > len(view) - offset or item.segment_bytes <= 0 < size:
                    raise ValueError("a batch entry lies outside its room, or has no segments")
                if self.path is None and not self._fits(item.path):
                    self._refuse(item.path, errno.EAFNOSUPPORT)
                elif not self._send_entry(view, item):
                    return False
                batch.first += 1
        return True

    def _send_entry(self, view: memoryview, item: Entry) -> bool:
        """Sends one entry, in one call or cut by hand; False when the kernel takes no more now."""
        address = item.path.remote if self.path is None else None
        segment = item.segment_bytes
        suspect = 0
        retried = False
        while True:
            size, offset = item.size, item.offset
            step = size
            if size > segment and (suspect or segment > self.segment_max or size > limits.GSO_BYTES_MAX
                                   or size > segment * limits.GSO_SEGMENTS_MAX):  # fmt: skip
                step = segment
            control = self._control(item, segment if step > segment else 0)
            code = self._hand_over(view[offset : offset + min(step, size)], control, address)
            if code == 0:
                if suspect:
                    self._lower(segment, suspect)
                if step >= size:
                    return True
                item.size -= step
                item.offset += step
                retried = False
            elif code in WAIT:
                return False
            elif step > segment and code in OFFLOAD_REFUSED:
                suspect = code  # was it the offload? Single datagrams will tell
                self._drain()
            elif code in LATE and not retried:
                retried = True
                self.disturbed = True
                self._drain()
            elif code in GONE:
                raise OSError(code, "the socket is gone")
            else:
                self._drain()
                self._refuse(item.path, code)
                return True

    def _lower(self, segment: int, code: int) -> None:
        if code == errno.EIO or segment <= SEGMENT_ALWAYS_FITS:
            self.segment_max = 0
        else:
            self.segment_max = min(self.segment_max, segment - 1)

    def _control(self, item: Transmit, segment: int) -> list[tuple[int, int, bytes]]:
        control = []
        if segment:
            control.append((names.SOL_UDP, names.UDP_SEGMENT, struct.pack("@H", segment)))
        local = item.path.local
        v6 = self._family == socket.AF_INET6
        if self._pktinfo and local is not None and self.path is None:
            host = socket.inet_pton(self._family, local[0].partition("%")[0])
            if v6:
                control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, host + struct.pack("@I", local[3])))
            else:
                control.append((socket.IPPROTO_IP, names.IP_PKTINFO, struct.pack("@i4s4x", 0, host)))
        if item.ecn != self._mark and _HAS_MESSAGES:
            mark = struct.pack("@i", (item.ecn & 3) | self._tos)
            if v6:
                control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, mark))
            else:
                control.append((socket.IPPROTO_IP, socket.IP_TOS, mark))
        return control

    def _hand_over(self, piece: memoryview, control: list[tuple[int, int, bytes]], address: Address | None) -> int:
        """One system call; 0, or the errno."""
        try:
            if control:
                self.sock.sendmsg([piece], control, 0, address)
            elif address is None:
                self.sock.send(piece)
            else:
                self.sock.sendto(piece, address)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _fits(self, path: Path) -> bool:
        """Whether a path's addresses are numeric and of this socket's family (the system would look names up)."""
        if path.raw is None:
            path.raw = address_family(path)
        if isinstance(path.raw, int):
            return path.raw == self._family
        return address_family(path) == self._family

    def _refuse(self, path: Path, code: int) -> None:
        self.unsent += 1
        self.disturbed = True
        self.errors.append((path if self.path is None else self.path, code))


def address_family(path: Path) -> int:
    """The family of a path's addresses; 0 when they are none or differ."""
    family = 0
    for address in (path.remote, path.local):
        if address is None:
            continue
        try:
            found = int(socket.AF_INET6) if len(address) == 4 else int(socket.AF_INET)
            socket.inet_pton(found, address[0].partition("%")[0])
            struct.pack("@H", address[1])
        except (OSError, ValueError, TypeError, IndexError, AttributeError, struct.error):
            return 0
        if family and found != family:
            return 0
        family = found
    return family if path.remote is not None else 0


def family_of(address: Address) -> socket.AddressFamily:
    """The family of a socket address: four items are IPv6."""
    return socket.AF_INET6 if len(address) == 4 else socket.AF_INET


def make_socket(local: Address | None, remote: Address | None, options: DatagramOptions) -> socket.socket:
    """A bound and, where the peer is one host, connected socket; its own options are set by `adopt`.

    A socket that sends to a group, or may broadcast, is not connected: the answers come from other addresses.

    Raises:
        OSError: as the system gave it.
    """
    address = local or remote
    if address is None:
        raise ValueError("a datagram socket needs an address")
    group = local is not None and names.is_group(local)
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        names.before_bind(sock, options, group=group or (remote is not None and names.is_group(remote)))
        if local is not None:
            sock.bind(local)
            if group:
                names.join_group(sock, local, options)
        if group or (remote is not None and names.is_group(remote)):
            names.send_to_group(sock, options)
        if remote is not None and not names.is_group(remote) and not options.broadcast:
            sock.connect(remote)
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(
    sock: socket.socket, options: DatagramOptions, *, by_descriptor: bool = True
) -> tuple[Path | None, Address | None, bool, Granted]:
    """Sets the options of a bound or connected socket, made here or inherited.

    Args:
        sock: the socket.
        options: those that are asked for.
        by_descriptor: we read it ourselves, packet info and error queue included; a loop's transport knows neither,
            and uvloop's crashes on an error in the queue.

    Returns:
        Its path if it is connected, its local address if that is one, whether packet info is on, and what was granted.

    Raises:
        OSError: no datagram socket, or the system refused an option.
    """
    if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise OSError(errno.EPROTOTYPE, "not a UDP socket")
    sock.setblocking(False)
    if not by_descriptor or not _HAS_MESSAGES:
        options = replace(options, mark=0)  # what could not be left out for a path that does not take it
    remote = peer_of(sock)
    local = sock.getsockname()
    if remote is None and local[1] == 0:  # what is not bound can't be watched for answers
        sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
        local = sock.getsockname()
    packet_info = remote is None and (names.is_wildcard(local) or names.is_group(local))
    granted = names.configure(sock, options, packet_info=packet_info and by_descriptor, error_queue=by_descriptor)
    path = None if remote is None else Path(local, remote)
    return path, None if packet_info else local, packet_info, granted


def adopt(sock: socket.socket, options: DatagramOptions, *, native: bool = True) -> tuple[DatagramSocket, Granted]:
    """Takes a bound or connected socket over, made here or inherited; sets its options.

    Args:
        sock: becomes non-blocking.
        options: those that are asked for; multicast membership is `make_socket`'s.
        native: by the compiled calls where they exist.

    Raises:
        OSError: no datagram socket, or the system refused an option.
    """
    path, local, packet_info, granted = prepare(sock, options)
    kind: Any = NativeDatagramSocket if native and NativeDatagramSocket is not None else PortableDatagramSocket
    made: DatagramSocket = kind(
        sock,
        path,
        local,
        pktinfo=packet_info,
        marks=options.ecn,
        stamps=options.timestamps,
        gso=granted.offload,
        tos=options.dscp << 2,
        mark=options.mark if _HAS_MESSAGES else 0,
        probing=granted.probing,
    )
    return made, granted


async def adopt_on(loop: asyncio.AbstractEventLoop, sock: socket.socket,
                   options: DatagramOptions) -> tuple[DatagramSocket, Granted]:  # fmt: skip
    """As `adopt`, by whatever `loop` can do: descriptors if it can watch them, else a transport of its own.

    Raises:
        OSError: as `adopt`.
    """
    try:
        loop.remove_reader(sock.fileno())
    except NotImplementedError:
        from transport.net.loop_datagram import open_on_loop

        path, local, _, granted = prepare(sock, options, by_descriptor=False)
        return await open_on_loop(loop, sock, path, local), granted
    return adopt(sock, options)


def source_for(remote: Address) -> Address | None:
    """The address of ours that the system would choose now to send to `remote`; None when there is no way there."""
    try:
        with socket.socket(family_of(remote), socket.SOCK_DGRAM) as sock:
            sock.connect(remote)  # says nothing to anybody
            found: Address = sock.getsockname()
            return found
    except OSError:
        return None


def reconnect(sock: socket.socket, remote: Address) -> Address:
    """Has the system choose local address and port of a connected socket anew; returns them.

    Descriptor, options and what has arrived stay. A socket that was bound to an address keeps that.

    Raises:
        OSError: there is no way to `remote` now; the socket is connected to nobody then.
        AttributeError: this system has no such call.
    """
    import ctypes  # the standard library can't say AF_UNSPEC (connect(2)), and this is needed once in a long while

    ctypes.CDLL(None).connect(sock.fileno(), bytes(_SOCKADDR_BYTES), _SOCKADDR_BYTES)
    sock.connect(remote)
    found: Address = sock.getsockname()
    return found


def peer_of(sock: socket.socket) -> Address | None:
    """The peer of a connected socket, else None."""
    try:
        peer: Address = sock.getpeername()
    except OSError:
        return None
    return peer


def open_datagram(local: Address | None = None, remote: Address | None = None,
                  options: DatagramOptions | None = None, *, native: bool = True) -> DatagramSocket:  # fmt: skip
    """Opens a socket by numeric addresses: bound for a server, connected for a client.

    Args:
        local: what to bind; a multicast group is joined.
        remote: the one peer; a group or a broadcast address leaves the socket unconnected.
        options: see `DatagramOptions`.
        native: by the compiled calls where they exist.

    Raises:
        OSError: as the system gave it.
    """
    options = options or DatagramOptions()
    sock = make_socket(local, remote, options)
    try:
        return adopt(sock, options, native=native)[0]
    except BaseException:
        sock.close()
        raise
