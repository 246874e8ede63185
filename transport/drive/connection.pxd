from transport.drive.inbound cimport Inbound


cdef class Connection(Inbound):
    cdef object __weakref__
    cdef readonly object local_address
    cdef readonly object remote_address
    cdef readonly object close_code
    cdef readonly object close_reason
    cdef object _opened
    cdef object _gone
    cdef public object on_open
    cdef public object on_lost

    cpdef lost(self, error)
