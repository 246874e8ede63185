# inline: not a module to build; compiled modules cimport this in place of room.py
from cpython.buffer cimport PyBuffer_IsContiguous
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyMemoryView_Check(object view)
    Py_buffer *PyMemoryView_GET_BUFFER(object view)


cdef inline int put(object view, list payloads, Py_ssize_t start, Py_ssize_t stop) except -1:
    cdef Py_buffer *buffer
    cdef Py_ssize_t i, size, used = 0
    cdef bytes payload
    if not PyMemoryView_Check(view):
        raise TypeError("a room is a memoryview")
    buffer = PyMemoryView_GET_BUFFER(view)
    if buffer.readonly or not PyBuffer_IsContiguous(buffer, b"C"):
        raise TypeError("a room is writable and contiguous")
    for i in range(start, stop):
        payload = payloads[i]
        size = PyBytes_GET_SIZE(payload)
        if size > buffer.len - used:
            raise ValueError("the payloads do not fit into the room")
        memcpy(<char *> buffer.buf + used, PyBytes_AS_STRING(payload), size)
        used += size
    return 0
