# inline: not a module to build; compiled modules cimport these in place of pen.py
from cpython.buffer cimport PyBuffer_IsContiguous
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy, memmove, memset
from transport.rudp.checksum cimport crc32_of, crc32c_of

cdef extern from "Python.h":
    bint PyMemoryView_Check(object view)
    Py_buffer *PyMemoryView_GET_BUFFER(object view)


cdef inline Py_ssize_t check(object room) except -1:
    cdef Py_buffer *buffer
    if not PyMemoryView_Check(room):
        raise TypeError("a room is a writable contiguous memoryview")
    buffer = PyMemoryView_GET_BUFFER(room)
    if buffer.readonly or not PyBuffer_IsContiguous(buffer, b"C"):
        raise TypeError("a room is a writable contiguous memoryview")
    return buffer.len


cdef inline unsigned char *at(object room, Py_ssize_t pos) noexcept:
    return <unsigned char *> PyMemoryView_GET_BUFFER(room).buf + pos


cdef inline const unsigned char *of(bytes data, Py_ssize_t pos) noexcept:
    return <const unsigned char *> PyBytes_AS_STRING(data) + pos


cdef inline Py_ssize_t put8(object room, Py_ssize_t pos, int value) noexcept:
    at(room, pos)[0] = <unsigned char> value
    return pos + 1


cdef inline Py_ssize_t put_low(object room, Py_ssize_t pos, unsigned long long value, int size) noexcept:
    cdef unsigned char *out = at(room, pos)
    cdef int i
    for i in range(size):
        out[i] = <unsigned char> (value >> (8 * (size - 1 - i)))
    return pos + size


cdef inline Py_ssize_t put32(object room, Py_ssize_t pos, unsigned long long value) noexcept:
    return put_low(room, pos, value, 4)


cdef inline Py_ssize_t put64(object room, Py_ssize_t pos, unsigned long long value) noexcept:
    return put_low(room, pos, value, 8)


cdef inline int varint_size(long long value) noexcept:
    return 1 if value < 0x40 else 2 if value < 0x4000 else 4 if value < 0x40000000 else 8


cdef inline Py_ssize_t put_varint(object room, Py_ssize_t pos, long long value) noexcept:
    cdef int size = varint_size(value)
    if size == 1:
        at(room, pos)[0] = <unsigned char> value
        return pos + 1
    if size == 2:
        return put_low(room, pos, value | 0x4000, 2)
    if size == 4:
        return put_low(room, pos, value | <long long> 0x80000000U, 4)
    return put_low(room, pos, (<unsigned long long> value) | ((<unsigned long long> 3) << 62), 8)


cdef inline Py_ssize_t put_bytes(object room, Py_ssize_t pos, bytes data, Py_ssize_t start, Py_ssize_t end) noexcept:
    memcpy(at(room, pos), of(data, start), end - start)
    return pos + end - start


cdef inline Py_ssize_t put_zeros(object room, Py_ssize_t pos, Py_ssize_t count) noexcept:
    memset(at(room, pos), 0, count)
    return pos + count


cdef inline Py_ssize_t skip_zeros(bytes data, Py_ssize_t pos, Py_ssize_t end) noexcept:
    cdef const unsigned char *p = of(data, 0)
    cdef unsigned long long word
    while pos + 8 <= end:
        memcpy(&word, p + pos, 8)
        if word:
            break
        pos += 8
    while pos < end and p[pos] == 0:
        pos += 1
    return pos


cdef inline Py_ssize_t push_back(object room, Py_ssize_t start, Py_ssize_t end, Py_ssize_t count) noexcept:
    memmove(at(room, start + count), at(room, start), end - start)
    memset(at(room, start), 0, count)
    return end + count


cdef inline int varint_length(bytes data, Py_ssize_t pos) noexcept:
    return 1 << (of(data, pos)[0] >> 6)


cdef inline long long varint(bytes data, Py_ssize_t pos) noexcept:
    cdef const unsigned char *p = of(data, pos)
    cdef int size = 1 << (p[0] >> 6), i
    cdef long long value = p[0] & 0x3F
    for i in range(1, size):
        value = (value << 8) | p[i]
    return value


cdef inline long long low(bytes data, Py_ssize_t pos, int size) noexcept:
    cdef const unsigned char *p = of(data, pos)
    cdef long long value = 0
    cdef int i
    for i in range(size):
        value = (value << 8) | p[i]
    return value


cdef inline unsigned long long u64(bytes data, Py_ssize_t pos) noexcept:
    cdef const unsigned char *p = of(data, pos)
    cdef unsigned long long value = 0
    cdef int i
    for i in range(8):
        value = (value << 8) | p[i]
    return value


cdef inline long long expand(long long truncated, int size, long long expected) noexcept:
    cdef long long window = (<long long> 1) << (8 * size)
    cdef long long candidate = (expected & ~(window - 1)) | truncated
    cdef long long half = window >> 1
    if candidate <= expected - half and candidate + window < ((<long long> 1) << 62):
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


cdef inline int low_size(long long distance) noexcept:
    return 1 if distance < (1 << 7) else 2 if distance < (1 << 15) else 3 if distance < (1 << 23) else 4


# Compiled, the memory of a body is the bytes object that it will be; nobody else sees it before it is done.
cdef inline object body_new(Py_ssize_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef inline int body_put(object body, Py_ssize_t offset, bytes data, Py_ssize_t start, Py_ssize_t end) except -1:
    if offset < 0 or start < 0 or end > PyBytes_GET_SIZE(data) or end - start > PyBytes_GET_SIZE(body) - offset:
        raise IndexError(offset)
    if end > start:
        memcpy(PyBytes_AS_STRING(body) + offset, of(data, start), end - start)
    return 0


cdef inline bint body_equal(object body, Py_ssize_t offset, bytes data, Py_ssize_t start, Py_ssize_t end) except -1:
    if offset < 0 or start < 0 or end > PyBytes_GET_SIZE(data) or end - start > PyBytes_GET_SIZE(body) - offset:
        raise IndexError(offset)
    return memcmp(PyBytes_AS_STRING(body) + offset, of(data, start), end - start) == 0


cdef inline bytes body_done(object body):
    return <bytes> body


cdef inline bytes take(bytes data, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cdef inline bytes copied(object room, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(<const char *> at(room, start), end - start)


cdef inline unsigned int checksum(object room, Py_ssize_t start, Py_ssize_t end, int kind,
                                  unsigned long long seed) noexcept:
    if kind == 4:
        return crc32c_of(at(room, start), end - start, <unsigned int> seed)
    return crc32_of(at(room, start), end - start, <unsigned int> seed)


cdef inline unsigned int checksum_of(bytes data, Py_ssize_t end, int kind, unsigned long long seed) noexcept:
    if kind == 4:
        return crc32c_of(of(data, 0), end, <unsigned int> seed)
    return crc32_of(of(data, 0), end, <unsigned int> seed)
