# inline: not a module to build; compiled modules cimport these in place of frames.py
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from transport.codec cimport memory


cdef inline void mask(
    unsigned char *out, const unsigned char *source, Py_ssize_t size, long long key, Py_ssize_t phase
) noexcept:
    # Eight bytes at a time, whatever the order of bytes in a word: the pattern is laid out as bytes first.
    cdef unsigned char pattern[8]
    cdef uint64_t wide
    cdef uint64_t word
    cdef Py_ssize_t i
    for i in range(8):
        pattern[i] = <unsigned char> ((key >> (24 - 8 * ((i + phase) & 3))) & 0xFF)
    memcpy(&wide, pattern, 8)
    i = 0
    while i + 8 <= size:
        memcpy(&word, source + i, 8)
        word ^= wide
        memcpy(out + i, &word, 8)
        i += 8
    while i < size:
        out[i] = source[i] ^ pattern[i & 7]
        i += 1


cdef inline bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end, long long key, Py_ssize_t phase):
    cdef const unsigned char *source = <const unsigned char *> PyBytes_AS_STRING(data) + start
    cdef bytes piece
    if key < 0 or end == start:
        return PyBytes_FromStringAndSize(<const char *> source, end - start)
    piece = PyBytes_FromStringAndSize(NULL, end - start)
    mask(<unsigned char *> PyBytes_AS_STRING(piece), source, end - start, key, phase)
    return piece


cdef inline Py_ssize_t append(bytearray run, int head, bytes payload, long long key) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t old = PyByteArray_GET_SIZE(run)
    cdef Py_ssize_t head_bytes = (2 if size < 126 else 4) + (4 if key >= 0 else 0)
    cdef unsigned char mask_bit = 0x80 if key >= 0 else 0
    cdef unsigned char *out
    if size > 0xFFFF:
        raise OverflowError("a frame of more than 65,535 bytes is not appended but referred to")
    memory.grow(run, old, old + head_bytes + size)
    out = <unsigned char *> PyByteArray_AS_STRING(run) + old
    out[0] = <unsigned char> head
    if size < 126:
        out[1] = mask_bit | <unsigned char> size
        out += 2
    else:
        out[1] = mask_bit | 126
        out[2] = <unsigned char> (size >> 8)
        out[3] = <unsigned char> (size & 0xFF)
        out += 4
    if key >= 0:
        out[0] = <unsigned char> ((key >> 24) & 0xFF)
        out[1] = <unsigned char> ((key >> 16) & 0xFF)
        out[2] = <unsigned char> ((key >> 8) & 0xFF)
        out[3] = <unsigned char> (key & 0xFF)
        mask(out + 4, <const unsigned char *> PyBytes_AS_STRING(payload), size, key, 0)
    else:
        memcpy(out, PyBytes_AS_STRING(payload), size)
    return head_bytes + size


cdef inline bint is_utf8(bytes data) except -1:
    cdef const unsigned char *text = <const unsigned char *> PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t i = 0
    cdef uint64_t word
    while i + 8 <= size:
        memcpy(&word, text + i, 8)
        if word & 0x8080808080808080ULL:
            break
        i += 8
    if i + 8 > size:
        while i < size and text[i] < 0x80:
            i += 1
        if i == size:
            return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


cdef inline bytes header(int head, Py_ssize_t size, long long key):
    cdef unsigned char out[14]
    cdef unsigned char mask_bit = 0x80 if key >= 0 else 0
    cdef int i
    cdef int at = 2
    out[0] = <unsigned char> head
    if size < 126:
        out[1] = mask_bit | <unsigned char> size
    elif size < 65536:
        out[1] = mask_bit | 126
        out[2] = <unsigned char> (size >> 8)
        out[3] = <unsigned char> (size & 0xFF)
        at = 4
    else:
        out[1] = mask_bit | 127
        for i in range(8):
            out[2 + i] = <unsigned char> ((size >> (56 - 8 * i)) & 0xFF)
        at = 10
    if key >= 0:
        for i in range(4):
            out[at + i] = <unsigned char> ((key >> (24 - 8 * i)) & 0xFF)
        at += 4
    return PyBytes_FromStringAndSize(<const char *> out, at)
