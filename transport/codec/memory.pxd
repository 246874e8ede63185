# inline: not a module to build; compiled modules cimport these in place of memory.py
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef extern from "Python.h":
    ctypedef struct PyByteArrayObject:
        Py_ssize_t ob_alloc
        Py_ssize_t ob_exports
    void Py_SET_SIZE(object, Py_ssize_t)

cdef enum:
    RESERVE_MAX = 80 * 1024  # a run is sealed before it gets much larger


cdef inline bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cdef inline int grow(bytearray run, Py_ssize_t old, Py_ssize_t new) except -1:
    # Twice as much each time. CPython grows a bytearray by an eighth, which copies a run of 64 KiB eight times over.
    if new >= (<PyByteArrayObject *> run).ob_alloc:
        PyByteArray_Resize(run, max(new, min(2 * old, RESERVE_MAX)))
    Py_SET_SIZE(run, new)
    PyByteArray_AS_STRING(run)[new] = 0
    return 0


cdef inline bint empty(bytearray run, Py_ssize_t most) except -1:
    # The memory stays: CPython would give it back, and the next message would ask for it anew.
    if (<PyByteArrayObject *> run).ob_alloc > most or (<PyByteArrayObject *> run).ob_exports:
        return False
    Py_SET_SIZE(run, 0)
    PyByteArray_AS_STRING(run)[0] = 0
    return True


cdef inline Py_ssize_t append_frame(bytearray run, int head, bytes payload) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t old = PyByteArray_GET_SIZE(run)
    cdef Py_ssize_t head_bytes = 2 if size < 0x40 else 3 if size < 0x4000 else 5
    cdef unsigned char *out
    grow(run, old, old + head_bytes + size)
    out = <unsigned char *> PyByteArray_AS_STRING(run) + old
    out[0] = <unsigned char> head
    if size < 0x40:
        out[1] = <unsigned char> size
    elif size < 0x4000:
        out[1] = <unsigned char> (0x40 | (size >> 8))
        out[2] = <unsigned char> (size & 0xFF)
    else:
        out[1] = <unsigned char> (0x80 | (size >> 24))
        out[2] = <unsigned char> ((size >> 16) & 0xFF)
        out[3] = <unsigned char> ((size >> 8) & 0xFF)
        out[4] = <unsigned char> (size & 0xFF)
    memcpy(out + head_bytes, PyBytes_AS_STRING(payload), size)
    return head_bytes + size
