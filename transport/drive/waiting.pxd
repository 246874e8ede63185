cimport cython
from transport.drive.base cimport Owner
from transport.drive.inbox cimport Waiter


cdef class Source(Owner):
    cpdef bint must_wait(self, int channel) except? -1
    cpdef add_writer(self, waiter, int channel)
    cpdef drop_writer(self, waiter)
    cpdef queue(self, message, delivery, channel, expires, priority, redundancy)


cdef class Send:
    cdef bint _is_fresh
    cdef bint _is_done
    cdef object _loop
    cdef Source _source
    cdef Waiter _waiter
    cdef object _body
    cdef object _delivery
    cdef int _channel
    cdef object _expires
    cdef object _priority
    cdef object _redundancy
    cpdef fill(self, Source source, loop, message, delivery, int channel, expires, priority, redundancy)
    cpdef close(self)
