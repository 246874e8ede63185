cimport cython
from transport.codec.scan cimport Scanner

cdef int _DONE


cdef class _Kit:
    cdef object pack
    cdef Scanner scanner


cdef class MsgpackCodec:
    cdef readonly str name
    cdef dict _unpackers
    cdef dict _packers
    cdef object _default
    cdef object _ext_hook
    cdef bint _datetimes
    cdef bint _text_keys
    cdef frozenset _codes
    cdef dict _options
    cdef bint _plain
    cdef list _kits

    @cython.locals(kit=_Kit, payload=bytes)
    cpdef bytes encode(self, message)
    @cython.locals(kit=_Kit, scanner=Scanner, body=bytes)
    cpdef decode(self, payload)
    cpdef _Kit _new_kit(self)
