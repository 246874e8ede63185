from libc.stdint cimport int64_t
cdef class Owner:
    cpdef deliver(self)
    cpdef flushed(self)
    cpdef lost(self, error)


cdef class Driver:
    cdef public object loop
    cdef public Py_ssize_t unsent_bytes
    cdef public bint busy
    cpdef wake(self)
    cpdef int64_t now(self) except? -1
    cpdef pause_reading(self, Owner owner)
    cpdef resume_reading(self, Owner owner)
    cpdef finish(self, Owner owner)
    cpdef cut(self, Owner owner, error)
