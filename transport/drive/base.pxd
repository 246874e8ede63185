cdef class Owner:
    cpdef deliver(self)
    cpdef flushed(self)
    cpdef lost(self, error)


cdef class Driver:
    cdef public object loop
    cdef public Py_ssize_t unsent_bytes
    cdef public bint busy
    cpdef wake(self)
    cpdef long long now(self)
    cpdef pause_reading(self, Owner owner)
    cpdef resume_reading(self, Owner owner)
    cpdef finish(self, Owner owner)
    cpdef cut(self, Owner owner, error)
