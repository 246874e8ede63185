cimport cython
from transport.codec cimport memory

cdef Py_ssize_t SPARE_BYTES


@cython.final
cdef class Entry:
    cdef public bytes frame
    cdef public bytes payload
    cdef public int channel
    cdef public int delivery
    cdef public int priority
    cdef public long long expires_at
    cdef public Py_ssize_t size


@cython.final
cdef class Outbox:
    cdef public bytearray run
    cdef public Py_ssize_t size
    cdef public long long dropped
    cdef public long long expired
    cdef public list lapsed
    cdef public Py_ssize_t held
    cdef public long long floor
    cdef bytearray _spare
    cdef object _sealed
    cdef dict _classes
    cdef dict _loose
    cdef Py_ssize_t _loose_bytes
    cdef Py_ssize_t _loose_count
    cdef dict _sequenced
    cdef long long _appended
    cdef long long _taken
    cdef dict _last
    cdef dict _class_counts

    cpdef seal(self)
    cpdef add_large(self, bytes frame, bytes payload)
    cpdef add(self, Entry entry)
    cpdef note(self, int channel)
    cpdef bint ordering(self) except? -1
    cpdef int pinned(self, int channel) except? -1
    cpdef int _place(self, Entry entry) except? -1
    @cython.locals(oldest=Entry)
    cpdef _add_loose(self, Entry entry)
    cpdef _forget(self, Entry entry)
    cpdef list take(self, long long now, Py_ssize_t room)
    cpdef bytearray take_run(self)
    cpdef recycle(self, bytearray run)
    cpdef Py_ssize_t _take_runs(self, long long now, Py_ssize_t room, list out) except? -1
    cpdef Py_ssize_t _take_class(self, queue, counts, long long now, Py_ssize_t room, list out) except? -1
    cpdef Py_ssize_t _emit(self, Entry entry, long long now, list out) except? -1
    cpdef clear(self)
