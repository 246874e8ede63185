"""The datagram half of the syscall module: batches with offload, packet info, marks, timestamps, the error queue.

`transport.net._native` hands these names on. One object per socket, which moves bytes and keeps no clock and no queue.
It must never raise for what a peer or the network did: such errors go to `errors`, by path.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport *
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from transport.datagram.base cimport Endpoint
from transport.machine cimport Path
from transport.net cimport datagram_base
from transport.net._native cimport *
from transport.net._pool cimport BATCH, CONTROL, DIRECT, SLOT, Pool, get_body, take_body
from transport.net._wire cimport (
    KEY, REMOTE, SO_TIMESTAMPNS, UDP_GRO, UDP_SEGMENT, Wire, address_at, path_key, put, wire_of)

cdef long long SECOND = 1_000_000_000
cdef enum:
    PATHS = 8192  # limits.PATHS_CACHED_MAX
    ERRORS_PER_CALL = 64  # limits.SOCKET_ERRORS_PER_CALL
    SEGMENTS = 64  # limits.GSO_SEGMENTS_MAX
    SEGMENTED_BYTES = 65000  # limits.GSO_BYTES_MAX
    SEGMENT_ALWAYS_FITS = 548  # a kernel that refuses to cut segments of this size refuses all
    READ_BYTES = 131072  # limits.RECEIVE_BEFORE_TRANSMIT_BYTES
    READ_DATAGRAMS = 1024  # limits.DATAGRAMS_PER_TICK
    SMALL = 4096  # after a single datagram up to this size there is seldom another
    LARGE = 16384  # behind a datagram of this size others are received where they stay
    MANY = 8  # datagrams waiting at once, from which on receive offload is worth its price
    PROBE_FIRST = 8  # so often a socket that gets single datagrams is asked for more at first
    PROBE_LAST = 64  # and so seldom when it never has any

cdef Pool *pools = NULL
cdef list faults = []


cdef Pool *take_pool() except NULL:
    global pools
    cdef Pool *pool = pools
    if pool != NULL:
        pools = pool.next
        return pool
    pool = <Pool *> calloc(1, sizeof(Pool))
    if pool != NULL:
        pool.slots = <char *> malloc(BATCH * SLOT)  # untouched pages cost nothing
        if pool.slots != NULL:
            return pool
        free(pool)
    raise MemoryError


cdef void give_pool(Pool *pool) noexcept:
    global pools
    pool.next = pools
    pools = pool


def fail_sends(codes):
    """Makes the next datagram sends fail with these errno values (0 lets one pass): for tests, no kernel does so."""
    faults[:] = codes


cdef class DatagramSocket(datagram_base.DatagramSocket):
    """The contract of `transport.net.datagram_base.DatagramSocket`, a system call for each batch.

    Options of the descriptor are set by whoever opened it; this class only asks for what it was told is on.
    """

    cdef int fd
    cdef int family
    cdef int port
    cdef int tos, mark
    cdef bint pktinfo
    cdef bint stamps
    cdef bint controls
    cdef bint gro, probing, direct
    cdef int want, singles, patience
    cdef Py_ssize_t room
    cdef dict paths
    cdef dict latest
    cdef char last_key[KEY]
    cdef object last_path

    def __init__(self, sock, path=None, local=None, *, bint pktinfo=False, bint marks=False, bint stamps=False,
                 bint gso=True, int tos=0, int mark=0, bint probing=False, Py_ssize_t room=65536):
        if not 0 < room <= 65536:
            raise ValueError("room of a datagram outside 1..65536")
        datagram_base.DatagramSocket.__init__(self, sock, path, local)
        self.fd = sock.fileno()
        self.family = sock.family
        self.port = sock.getsockname()[1]
        self.pktinfo = pktinfo
        self.stamps = stamps
        self.controls = pktinfo or marks or stamps
        self.gro = gso
        self.tos = tos
        self.mark = mark
        self.probing = probing
        self.room = room
        self.segment_max = SEGMENTED_BYTES if gso else 0
        self.want = 1
        self.direct = False
        self.singles = 0
        self.patience = PROBE_FIRST
        self.paths = {}
        self.latest = {}
        if self.controls:
            self.coalesce()

    cdef int coalesce(self) except -1:
        """Receive offload (UDP_GRO). It needs control data, which cost as much as the rest of reading a datagram, so a
        socket that wants none for another reason waits with it until datagrams come in numbers. It stays on: a
        coalesced train that was read without control data would be one message."""
        cdef int one = 1
        self.controls = True
        if self.gro:
            self.gro = False
            setsockopt(self.fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(int))
        return 0

    cpdef fileno(self):
        return self.fd

    cpdef close(self):
        self.fd = -1
        self.sock.close()

    cpdef Py_ssize_t receive(self, Endpoint sink, long long now) except -1:
        cdef Pool *pool
        cdef int got
        self.more = False
        self.received_bytes = 0
        if self.fd < 0:
            return 0
        pool = take_pool()
        try:
            got = self.fill_one(pool) if self.want == 1 and not self.controls else self.fill(pool, self.direct)
            if got == 1 and pool.heads[0].msg_hdr.msg_controllen == 0:
                return self.unpack_one(pool, sink, now)
            return self.unpack(pool, got, sink, now) if got else 0
        finally:
            give_pool(pool)

    cdef int fill_one(self, Pool *pool) except -1:
        """`fill` for one datagram without control data, by the cheaper call."""
        cdef msghdr *head = &pool.heads[0].msg_hdr
        cdef ssize_t size
        head.msg_name = &pool.names[0] if self.path is None else NULL
        head.msg_namelen = sizeof(sockaddr_storage)
        size = recvfrom(self.fd, pool.slots, self.room, MSG_DONTWAIT | MSG_TRUNC, <sockaddr *> head.msg_name,
                        &head.msg_namelen)
        if size < 0:
            return self.fill(pool, False) if self.settle(errno) else 0
        pool.parts[0].iov_base = pool.slots
        head.msg_controllen = 0
        head.msg_flags = MSG_TRUNC if size > self.room else 0
        pool.heads[0].msg_len = <unsigned int> size
        return 1

    cdef int fill(self, Pool *pool, bint direct) except -1:
        """One system call's worth of datagrams; errors that ICMP left on the socket are taken off and reported."""
        cdef int got, i
        cdef msghdr *head
        for _ in range(ERRORS_PER_CALL):
            for i in range(self.want):
                head = &pool.heads[i].msg_hdr
                pool.parts[i].iov_base = get_body(pool, i) if direct and i < DIRECT else pool.slots + i * SLOT
                pool.parts[i].iov_len = self.room
                head.msg_name = NULL if self.path is not None else &pool.names[i]
                head.msg_namelen = 0 if self.path is not None else sizeof(sockaddr_storage)
                head.msg_iov = &pool.parts[i]
                head.msg_iovlen = 1
                head.msg_control = pool.control[i]
                head.msg_controllen = CONTROL
            got = recvmmsg(self.fd, pool.heads, self.want, MSG_DONTWAIT, NULL)
            if got >= 0:
                return got
            if not self.settle(errno):
                return 0
        self.more = True
        return 0

    cdef int settle(self, int code) except -1:
        """Receiving failed with `code`. Whether to try again at once."""
        if code == EAGAIN:
            self.drain()  # perhaps it was an error that woke the loop
            return False
        if code == EINTR:
            PyErr_CheckSignals()
        else:
            self.asynchronous(code)
        return True

    cdef Py_ssize_t unpack(self, Pool *pool, int got, Endpoint sink, long long now) except -1:
        cdef list payloads = None
        cdef Py_ssize_t total = 0, segment, length, start, count = 0
        cdef int i, ecn, last_ecn = 0
        cdef long long stamp, last_stamp = 0
        cdef msghdr *head
        cdef char *data
        last = None
        for i in range(got):
            total += pool.heads[i].msg_len
        for i in range(got):
            head = &pool.heads[i].msg_hdr
            length = pool.heads[i].msg_len
            if head.msg_flags & MSG_TRUNC:
                self.truncated += 1
                continue
            segment = length
            ecn = 0
            stamp = 0
            path = self.read_control(head, &segment, &ecn, &stamp)
            if path is not last or ecn != last_ecn or stamp != last_stamp:
                if payloads is not None:
                    sink.stamp = last_stamp
                    sink.receive_many(payloads, last, last_ecn, now)
                payloads = []
                last, last_ecn, last_stamp = path, ecn, stamp
            data = <char *> pool.parts[i].iov_base
            if segment <= 0 or segment >= length:
                payloads.append(self.payload_at(pool, i, length))
                count += 1
                continue
            for start in range(0, length, segment):
                payloads.append(PyBytes_FromStringAndSize(data + start, min(segment, length - start)))
                count += 1
        if payloads is not None:
            sink.stamp = last_stamp
            sink.receive_many(payloads, last, last_ecn, now)
        self.adapt(got, total, count)
        return count

    cdef Py_ssize_t unpack_one(self, Pool *pool, Endpoint sink, long long now) except -1:
        """The same for one datagram without control data, which is what a request or its answer is."""
        cdef msghdr *head = &pool.heads[0].msg_hdr
        cdef Py_ssize_t length = pool.heads[0].msg_len
        if head.msg_flags & MSG_TRUNC:
            self.truncated += 1
            return 0
        path = self.path if self.path is not None else self.intern(head.msg_name, 0, NULL)
        self.adapt(1, length, 1)
        sink.stamp = 0
        sink.receive_one(self.payload_at(pool, 0, length), path, 0, now)
        return 1

    cdef bytes payload_at(self, Pool *pool, int i, Py_ssize_t length):
        """Datagram `i`, which nothing was put together with. What is small would leave most of a body unused."""
        cdef char *data = <char *> pool.parts[i].iov_base
        if length >= LARGE and i < DIRECT and pool.bodies[i] != NULL and data == bytes_text(pool.bodies[i]):
            return take_body(pool, i, length)
        return PyBytes_FromStringAndSize(data, length)

    cdef int adapt(self, int got, Py_ssize_t total, Py_ssize_t count) except -1:
        """How much to ask for next: one datagram when they come one by one (the second read of a request and its
        answer finds nothing), else what keeps within the bounds of one turn."""
        cdef bint filled = got == self.want
        self.received_bytes = total
        self.direct = total >= LARGE * got
        if filled and got == 1 and total <= SMALL and self.singles + 1 < self.patience:
            self.singles += 1  # what is most often so, in the fewest steps
            return 0
        if got >= MANY:
            self.coalesce()
        if got > 1 or total > SMALL:
            self.more = filled
            self.singles = 0
            self.patience = PROBE_FIRST
            self.want = <int> max(2, min(BATCH, READ_BYTES * got // max(total, 1),
                                         READ_DATAGRAMS * got // max(count, 1)))
            return 0
        self.singles += 1
        self.want = 1
        if self.singles >= self.patience:
            self.singles = 0
            self.patience = min(2 * self.patience, <int> PROBE_LAST)
            self.want = 2
        return 0

    cdef object read_control(self, msghdr *head, Py_ssize_t *segment, int *ecn, long long *stamp):
        """The path of one received message, and what its control data says."""
        cdef cmsghdr *control = CMSG_FIRSTHDR(head)
        cdef void *data
        cdef uint32_t local4 = 0
        cdef in6_pktinfo *local6 = NULL
        while control != NULL:
            data = CMSG_DATA(control)
            if control.cmsg_level == IPPROTO_UDP:
                if control.cmsg_type == UDP_GRO:
                    segment[0] = (<int *> data)[0]
            elif control.cmsg_level == IPPROTO_IP:
                if control.cmsg_type == IP_TOS:
                    ecn[0] = (<unsigned char *> data)[0] & 3
                elif control.cmsg_type == IP_PKTINFO:
                    local4 = (<in_pktinfo *> data).ipi_spec_dst.s_addr
            elif control.cmsg_level == IPPROTO_IPV6:
                if control.cmsg_type == IPV6_TCLASS:
                    ecn[0] = (<int *> data)[0] & 3
                elif control.cmsg_type == IPV6_PKTINFO:
                    local6 = <in6_pktinfo *> data
            elif control.cmsg_level == SOL_SOCKET and control.cmsg_type == SO_TIMESTAMPNS and self.stamps:
                stamp[0] = (<timespec *> data).tv_sec * SECOND + (<timespec *> data).tv_nsec
            control = CMSG_NXTHDR(head, control)
        if self.path is not None:
            return self.path
        return self.intern(head.msg_name, local4 if self.pktinfo else 0, local6 if self.pktinfo else NULL)

    cdef object intern(self, const void *name, uint32_t local4, const in6_pktinfo *local6):
        """The one `Path` of these addresses, from a bounded cache: oldest out."""
        cdef char key[KEY]
        path_key(key, name, local4, local6)
        if self.last_path is not None and memcmp(key, self.last_key, KEY) == 0:
            return self.last_path
        cdef bytes known = PyBytes_FromStringAndSize(key, KEY)
        path = self.paths.get(known)
        if path is None:
            path = self.add_path(known)
        memcpy(self.last_key, key, KEY)
        self.last_path = path
        return path

    cdef object add_path(self, bytes known):
        cdef const char *key = PyBytes_AS_STRING(known)
        local = self.local
        if len(self.paths) >= PATHS:
            oldest = next(iter(self.paths))
            gone = self.paths.pop(oldest)
            if self.latest.get(oldest[:22]) is gone:
                del self.latest[oldest[:22]]
        if memcmp(key + 22, b"\0" * 16, 16) != 0:
            local = address_at(self.family, key + 22, self.port, key + 38)
        path = Path(local, address_at(self.family, key + 2, ntohs((<const uint16_t *> key)[0]), key + 18))
        self.paths[known] = path
        self.latest[known[:22]] = path
        return path

    cdef int asynchronous(self, int code) except -1:
        """Takes `code`, which an earlier datagram's fate left on the socket, to the errors of its path.

        Raises OSError when it is no such thing but the descriptor is unusable. Returns how many errors were found.
        """
        cdef int found
        if code == EBADF or code == ENOTSOCK:
            raise OSError(code, "the socket is gone")
        self.disturbed = True
        found = self.drain()
        if not found and self.path is not None and not (self.probing and code == EMSGSIZE):
            self.errors.append((self.path, code))
        return found

    cdef int drain(self) except -1:
        """Empties the error queue (`IP_RECVERR`), which knows the destination of the datagram that failed."""
        cdef msghdr head
        cdef iovec part
        cdef char name[REMOTE]
        cdef char control[512]
        cdef char data[8]
        cdef cmsghdr *item
        cdef sock_extended_err *report
        cdef int found = 0
        for _ in range(ERRORS_PER_CALL):
            part.iov_base, part.iov_len = <void *> data, sizeof(data)
            memset(&head, 0, sizeof(head))
            memset(name, 0, REMOTE)
            head.msg_name, head.msg_namelen = <void *> name, REMOTE
            head.msg_iov, head.msg_iovlen = &part, 1
            head.msg_control, head.msg_controllen = <void *> control, sizeof(control)
            if recvmsg(self.fd, &head, MSG_ERRQUEUE | MSG_DONTWAIT) < 0:
                break
            self.disturbed = True  # uvloop stops watching a descriptor that had an error
            item = CMSG_FIRSTHDR(&head)
            while item != NULL:
                if (item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_RECVERR) or (
                        item.cmsg_level == IPPROTO_IPV6 and item.cmsg_type == IPV6_RECVERR):
                    report = <sock_extended_err *> CMSG_DATA(item)
                    if (report.ee_origin == SO_EE_ORIGIN_ICMP or report.ee_origin == SO_EE_ORIGIN_ICMP6) and not (
                            self.probing and report.ee_errno == EMSGSIZE):  # anybody can forge what ICMP says
                        self.errors.append((self.path_of_error(name), report.ee_errno))
                        found += 1
                item = CMSG_NXTHDR(&head, item)
        return found

    cdef object path_of_error(self, const char *name):
        cdef char key[KEY]
        if self.path is not None:
            return self.path
        path_key(key, name, 0, NULL)
        path = self.latest.get(PyBytes_FromStringAndSize(key, 22))
        if path is not None:
            return path
        return Path(self.local, address_at(self.family, key + 2, ntohs((<const uint16_t *> key)[0]), key + 18))

    cpdef bint send(self, datagram_base.Outgoing batch) except -1:
        cdef Pool *pool
        if self.fd < 0:
            batch.first = batch.count
            return True
        pool = take_pool()
        try:
            self.send_all(pool, batch)
        finally:
            give_pool(pool)
        return batch.first >= batch.count

    cpdef bint send_single(self, bytes payload, path) except -1:
        cdef Wire wire
        cdef ssize_t done
        if self.fd < 0 or faults:
            return False
        if self.path is not None:
            done = sendto(self.fd, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), MSG_DONTWAIT | MSG_NOSIGNAL,
                          NULL, 0)
        else:
            try:
                wire = wire_of(<Path?> path)
            except (ValueError, TypeError, IndexError, OverflowError):
                return False
            if wire.family != self.family or (self.pktinfo and wire.bound):
                return False
            done = sendto(self.fd, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), MSG_DONTWAIT | MSG_NOSIGNAL,
                          <sockaddr *> wire.remote, wire.size)
        if done >= 0:
            return True
        if errno in (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENOPROTOOPT, EPROTO):
            self.disturbed = True  # most likely an earlier datagram's fate, told now; `send` tries again
            self.drain()
        return False

    cdef int send_all(self, Pool *pool, datagram_base.Outgoing batch) except -1:
        cdef Py_ssize_t alone = -1, retried = -1
        cdef int heads, sent, code, suspect = 0
        cdef datagram_base.Entry entry
        while batch.first < batch.count:
            heads = self.gather(pool, batch, alone)
            if heads == 0:  # an address that is none
                batch.first += 1
                continue
            sent = self.hand_over(pool, heads)
            entry = batch.entries[batch.first]
            if sent > 0:
                if alone == batch.first:
                    self.lower(entry.segment_bytes, suspect)
                if retried == batch.first:
                    retried = -1
                self.advance(pool, sent, batch)
                alone = -1 if alone != batch.first else alone
                continue
            code = -sent
            if code == EAGAIN:
                return 0
            if code == EINTR:
                PyErr_CheckSignals()
                continue
            if pool.parts[0].iov_len > <size_t> entry.segment_bytes and code in (EIO, EINVAL, EMSGSIZE):
                alone, suspect = batch.first, code  # was it the offload? The entry in single datagrams will tell
                self.drain()
                continue
            if retried != batch.first and code in (
                    ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENOPROTOOPT, EPROTO, EMSGSIZE):
                retried = batch.first  # most likely an earlier datagram's fate, told now
                self.disturbed = True
                self.drain()
                continue
            if code == EBADF or code == ENOTSOCK:
                raise OSError(code, "the socket is gone")
            self.drain()
            self.refuse(entry, code)
            alone = -1
            batch.first += 1
        return 0

    cdef int refuse(self, datagram_base.Entry entry, int code) except -1:
        self.unsent += 1
        self.disturbed = True
        self.errors.append((entry.path if self.path is None else self.path, code))
        return 0

    cdef void lower(self, Py_ssize_t segment, int code) noexcept:
        if code == EIO or segment <= SEGMENT_ALWAYS_FITS:
            self.segment_max = 0
        else:
            self.segment_max = min(self.segment_max, segment - 1)

    cdef int gather(self, Pool *pool, datagram_base.Outgoing batch, Py_ssize_t alone) except -1:
        """Fills heads from what is left of the batch; the entry `alone` goes unsegmented and by itself."""
        cdef char *room = PyByteArray_AS_STRING(batch.room)
        cdef Py_ssize_t length = PyByteArray_GET_SIZE(batch.room), size, segment, offset, index, step
        cdef int heads = 0
        cdef Wire wire = None
        cdef datagram_base.Entry item
        for index in range(batch.first, batch.count):
            item = batch.entries[index]
            size, segment, offset = item.size, item.segment_bytes, item.offset
            if size < 0 or offset < 0 or size > length - offset or segment <= 0 < size:
                raise ValueError("a batch entry lies outside its room, or has no segments")
            if self.path is None:
                try:
                    wire = wire_of(<Path?> item.path)
                except (ValueError, TypeError, IndexError, OverflowError):
                    wire = None
                if wire is None or wire.family != self.family:
                    if heads == 0:
                        self.refuse(item, EAFNOSUPPORT)
                    return heads
            step = size
            if size > segment and (index == alone or segment > self.segment_max or size > SEGMENTED_BYTES
                                   or size > segment * SEGMENTS):
                step = segment
            while True:
                pool.parts[heads].iov_base = room + offset
                pool.parts[heads].iov_len = min(step, size)
                self.write_head(pool, heads, wire, segment if step > segment else 0, item.ecn)
                pool.entries[heads] = index
                heads += 1
                offset += step
                size -= step
                if heads == BATCH:
                    return heads
                if size <= 0:
                    break
            if index == alone:
                break
        return heads

    cdef void write_head(self, Pool *pool, int i, Wire wire, Py_ssize_t segment, int ecn) noexcept:
        cdef msghdr *head = &pool.heads[i].msg_hdr
        cdef char *control = pool.control[i]
        cdef size_t used = 0
        cdef in_pktinfo local4
        if wire is None:
            head.msg_name = NULL
            head.msg_namelen = 0
        else:
            head.msg_name = wire.remote
            head.msg_namelen = wire.size
        if segment:
            used += put(control + used, IPPROTO_UDP, UDP_SEGMENT, &segment, 2)
        if self.pktinfo and wire is not None and wire.bound:
            if self.family == AF_INET:
                memset(&local4, 0, sizeof(local4))
                local4.ipi_spec_dst = wire.local4
                used += put(control + used, IPPROTO_IP, IP_PKTINFO, &local4, sizeof(local4))
            else:
                used += put(control + used, IPPROTO_IPV6, IPV6_PKTINFO, &wire.local6, sizeof(wire.local6))
        if ecn != self.mark:
            ecn = (ecn & 3) | self.tos
            if self.family == AF_INET:
                used += put(control + used, IPPROTO_IP, IP_TOS, &ecn, sizeof(int))
            else:
                used += put(control + used, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof(int))
        head.msg_iov = &pool.parts[i]
        head.msg_iovlen = 1
        head.msg_control = control if used else NULL
        head.msg_controllen = used
        head.msg_flags = 0

    cdef int hand_over(self, Pool *pool, int heads) noexcept:
        """How many of the heads the kernel took, or -errno."""
        cdef int sent
        if faults:
            sent = faults.pop(0)
            if sent:
                return -sent
        if heads > 1:
            sent = sendmmsg(self.fd, pool.heads, heads, MSG_DONTWAIT | MSG_NOSIGNAL)
            return sent if sent > 0 else -errno
        cdef msghdr *head = &pool.heads[0].msg_hdr
        cdef ssize_t done
        if head.msg_controllen:
            done = sendmsg(self.fd, head, MSG_DONTWAIT | MSG_NOSIGNAL)
        else:
            done = sendto(self.fd, pool.parts[0].iov_base, pool.parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL,
                          <sockaddr *> head.msg_name, head.msg_namelen)
        return -errno if done < 0 else 1

    cdef int advance(self, Pool *pool, int sent, datagram_base.Outgoing batch) except -1:
        """Takes what was sent off the batch."""
        cdef Py_ssize_t index = 0, done
        cdef int i = 0
        cdef datagram_base.Entry item
        while i < sent:
            index = pool.entries[i]
            done = 0
            while i < sent and pool.entries[i] == index:
                done += pool.parts[i].iov_len
                i += 1
            item = batch.entries[index]
            if done < item.size:
                item.size -= done
                item.offset += done
                batch.first = index
                return 0
        batch.first = index + 1
        return 0
