"""Linux system calls without the cost of the socket module: reads, gathered writes, accept, timers.

The one place where C structures are touched. Every function has a portable twin elsewhere, so nothing may depend on
this module being there, and it must never keep a descriptor: it works on those that others own. The GIL is kept: every
call is non-blocking and shorter than giving it up and taking it back.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno

from transport.net cimport stream_base
from transport.net._datagram import DatagramSocket, fail_sends

cdef long long SECOND = 1_000_000_000
cdef enum:
    WRITE_BUFFERS = 64  # limits.WRITE_BUFFERS_MAX
    COPY_BELOW = 32768  # a read this small is copied out of the spare, a larger one takes the spare with it

# Room for the next read. One serves every descriptor and thread, because the GIL is held from its use to its reuse.
cdef PyObject *spare = NULL


cpdef long long monotonic_ns():
    """Nanoseconds of CLOCK_MONOTONIC, the same clock as `time.monotonic_ns`."""
    cdef timespec value
    clock_gettime(CLOCK_MONOTONIC, &value)
    return value.tv_sec * SECOND + value.tv_nsec


cpdef recv(int fd, Py_ssize_t size):
    """What has arrived on a stream socket, at most `size` bytes.

    Returns None when nothing has, b"" at the end of the stream. Raises OSError as the system gave it.
    """
    global spare
    cdef ssize_t got
    if size <= 0:
        raise ValueError("recv of no bytes")
    if spare != NULL and bytes_size(spare) != size:
        drop_reference(spare)
        spare = NULL
    if spare == NULL:
        spare = bytes_new(NULL, size)
        if spare == NULL:
            raise MemoryError
    while True:
        got = c_recv(fd, bytes_text(spare), size, MSG_DONTWAIT)
        if got >= 0:
            break
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
        if spare == NULL or bytes_size(spare) != size:  # a signal handler has read too
            return recv(fd, size)
    if got < COPY_BELOW:
        return PyBytes_FromStringAndSize(bytes_text(spare), got)
    return hand_out(got)


cdef object hand_out(Py_ssize_t size):
    """The spare, cut to `size`, as the caller's own bytes."""
    global spare
    cdef PyObject *taken = spare
    spare = NULL
    if bytes_size(taken) != size:
        _PyBytes_Resize(&taken, size)
    result = <object> taken
    drop_reference(taken)
    return result


cpdef Py_ssize_t send(int fd, buffers, Py_ssize_t offset=0) except? -2:
    """Writes as much of `buffers` as the kernel takes in one call (of the first 64), without its first `offset` bytes.

    Args:
        buffers: a list or tuple of bytes-like objects; `offset` must lie inside the first.

    Returns:
        Bytes taken, or -1 when the kernel takes none now. Raises OSError as the system gave it; never SIGPIPE.
    """
    cdef Py_buffer views[WRITE_BUFFERS]
    cdef iovec parts[WRITE_BUFFERS]
    cdef Py_ssize_t count, i, held = 0
    cdef msghdr message
    if offset < 0:
        raise ValueError("negative offset")
    count = min(len(buffers), <Py_ssize_t> WRITE_BUFFERS)
    if count == 1:
        first = buffers[0]
        if PyBytes_CheckExact(first):
            if offset > PyBytes_GET_SIZE(first):
                raise ValueError("offset lies outside the first buffer")
            return send_one(fd, PyBytes_AS_STRING(first) + offset, PyBytes_GET_SIZE(first) - offset)
        if PyByteArray_CheckExact(first):
            if offset > PyByteArray_GET_SIZE(first):
                raise ValueError("offset lies outside the first buffer")
            return send_one(fd, PyByteArray_AS_STRING(first) + offset, PyByteArray_GET_SIZE(first) - offset)
    try:
        for i in range(count):
            PyObject_GetBuffer(buffers[i], &views[i], PyBUF_SIMPLE)
            held += 1
            parts[i].iov_base = views[i].buf
            parts[i].iov_len = views[i].len
        if count:
            if offset > views[0].len:
                raise ValueError("offset lies outside the first buffer")
            parts[0].iov_base = <char *> views[0].buf + offset
            parts[0].iov_len = views[0].len - offset
        message.msg_name = NULL
        message.msg_namelen = 0
        message.msg_iov = parts
        message.msg_iovlen = count
        message.msg_control = NULL
        message.msg_controllen = 0
        message.msg_flags = 0
        return send_parts(fd, &message)
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])


cdef class StreamSocket(stream_base.StreamSocket):
    """The contract of `transport.net.stream_base.StreamSocket`, a system call each."""

    cdef int fd

    def __init__(self, sock):
        stream_base.StreamSocket.__init__(self, sock)
        self.fd = sock.fileno()

    cpdef recv(self, Py_ssize_t size):
        return recv(self.fd, size)

    cpdef Py_ssize_t send(self, list buffers, Py_ssize_t offset) except? -2:
        return send(self.fd, buffers, offset)

    cpdef Py_ssize_t send_run(self, bytearray run) except? -2:
        return send_one(self.fd, PyByteArray_AS_STRING(run), PyByteArray_GET_SIZE(run))


cdef Py_ssize_t send_one(int fd, const char *data, size_t size) except -2:
    cdef ssize_t sent
    while True:
        sent = c_send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent >= 0:
            return sent
        if errno == EAGAIN:
            return -1
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


cdef Py_ssize_t send_parts(int fd, const msghdr *message) except -2:
    cdef ssize_t sent
    while True:
        sent = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent >= 0:
            return sent
        if errno == EAGAIN:
            return -1
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


cdef object address_of(const void *raw, socklen_t size):
    """The socket module's form of an address; IPv6 always as four items, the scope as a number."""
    cdef char text[64]
    cdef const sockaddr_in *v4 = <const sockaddr_in *> raw
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *> raw
    cdef const sockaddr_un *local = <const sockaddr_un *> raw
    if size >= sizeof(sockaddr_in) and v4.sin_family == AF_INET:
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(v4.sin_port))
    if size >= sizeof(sockaddr_in6) and v6.sin6_family == AF_INET6:
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo), v6.sin6_scope_id)
    if size > 2 and local.sun_family == AF_UNIX:
        if local.sun_path[0] == 0:
            return PyBytes_FromStringAndSize(local.sun_path, size - 2)  # Linux's abstract names may hold anything
        return PyBytes_FromStringAndSize(local.sun_path, size - 2).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return ""


def accept(int fd):
    """One connection waiting on a listening socket, non-blocking and closed on exec: (descriptor, peer's address).

    Returns None when none waits. Raises OSError as the system gave it (EMFILE and ECONNABORTED are the caller's).
    """
    cdef sockaddr_storage peer
    cdef socklen_t size
    cdef int got
    while True:
        size = sizeof(peer)
        got = accept4(fd, <sockaddr *> &peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if got >= 0:
            return got, address_of(&peer, size)
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


def timerfd_create():
    """A descriptor that becomes readable at a time of CLOCK_MONOTONIC; the caller closes it."""
    cdef int fd = c_timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd


def timerfd_settime(int fd, long long deadline_ns):
    """Arms `fd` for an absolute time in nanoseconds (past ones fire at once); 0 disarms."""
    cdef itimerspec spec
    if deadline_ns < 0:
        deadline_ns = 1
    spec.it_interval.tv_sec = 0
    spec.it_interval.tv_nsec = 0
    spec.it_value.tv_sec = deadline_ns // SECOND
    spec.it_value.tv_nsec = deadline_ns % SECOND
    if c_timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0:
        PyErr_SetFromErrno(OSError)


def timerfd_read(int fd):
    """How often `fd` has fired since the last read; 0 when it has not."""
    cdef uint64_t fired
    while True:
        if read(fd, &fired, sizeof(fired)) == sizeof(fired):
            return fired
        if errno == EAGAIN:
            return 0
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


def close(int fd):
    """Closes a descriptor that this module made; the kernel's complaints are of no use to anybody."""
    c_close(fd)
