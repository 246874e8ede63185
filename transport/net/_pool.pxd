# inline: not a module to build; the rooms of a batch of datagrams, for `_datagram` alone
from transport.net._native cimport *

cdef enum:
    BATCH = 64  # datagrams, or offloaded trains of them, in one system call
    BODY = 65536  # the largest datagram
    SLOT = 65664  # 65,536 and two cache lines, so that slots do not share their place in the cache
    CONTROL = 256
    DIRECT = 4  # of the large datagrams of a call, so many stay where they were received

# Rooms of a batch come from a free list for one call: all sockets share warm memory, and a second thread has its own.
# Large datagrams are received into the bytes object that they become, which saves a copy; those that were got ready
# and not filled wait in the pool for the next call, of whichever socket.
cdef struct Pool:
    mmsghdr heads[BATCH]
    iovec parts[BATCH]
    sockaddr_storage names[BATCH]
    char control[BATCH][CONTROL]
    Py_ssize_t entries[BATCH]
    char *slots
    PyObject *bodies[DIRECT]
    Pool *next


cdef inline char *get_body(Pool *pool, int i) except NULL:
    """Where large datagram `i` of a call goes."""
    if pool.bodies[i] == NULL:
        pool.bodies[i] = bytes_new(NULL, BODY)
        if pool.bodies[i] == NULL:
            raise MemoryError
    return bytes_text(pool.bodies[i])


cdef inline bytes take_body(Pool *pool, int i, Py_ssize_t size):
    """Body `i` with the `size` bytes that it was filled with; it is the caller's now."""
    cdef bytes taken
    _PyBytes_Resize(&pool.bodies[i], size)  # which leaves NULL where memory runs out
    taken = <bytes> pool.bodies[i]
    drop_reference(pool.bodies[i])
    pool.bodies[i] = NULL
    return taken
