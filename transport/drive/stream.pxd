cimport cython
from transport.drive.base cimport Driver, Owner
from transport.net cimport clock
from transport.net.stream_base cimport StreamSocket
from transport.session cimport ByteSession

cdef int BEGINNING, INPUT, DEADLINE
cdef Py_ssize_t READ_BYTES
cdef long long CHECK_NS


cdef class StreamDriver(Driver):
    cdef readonly object machine
    cdef readonly Owner owner
    cdef ByteSession _session
    cdef public long long armed_at
    cdef object _timers
    cdef object _clock
    cdef public list _pending
    cdef public Py_ssize_t _offset
    cdef public bint _blocked
    cdef bint _scheduled
    cdef readonly bint _reading
    cdef bint _is_full
    cdef bint _eof_wanted
    cdef readonly bint _eof_out
    cdef readonly bint _eof_in
    cdef long long _finish_by
    cdef public bint _ended

    cpdef start(self, Owner owner)
    cpdef _begin(self)
    cdef _turn(self, int what, bytes data, long long now)
    cdef _receive(self, bytes data)
    cpdef feed(self, bytes data)
    cpdef _tick(self)
    @cython.locals(due=cython.longlong)
    cpdef flush(self)
    cdef _change_full(self)
    @cython.locals(total=Py_ssize_t, buffers=list, session=ByteSession, run=bytearray)
    cpdef _pump(self)
    @cython.locals(index=Py_ssize_t, pending=list)
    cpdef bint _sent(self, Py_ssize_t count) except? -1
    cpdef bint _write_run(self, bytearray run) except? -1
    cpdef writable(self)
    cpdef timer_fired(self, now)
    cpdef hand_over(self, Owner owner)
    cpdef discard(self)
    cpdef _stop_reading(self)
    cpdef end(self, error)
    cpdef fail(self, error)
    cpdef _broken(self, error)
    cpdef _release(self)
    cpdef bint _write(self) except? -1
    cpdef _half_close(self)
    cpdef _read_on(self)
    cpdef _read_off(self)
    cpdef _close(self)


cdef class SocketDriver(StreamDriver):
    cdef readonly object sock
    cdef int _fd
    cdef StreamSocket _pipe
    cdef bint _suspicious
    cdef long long _check_at

    cpdef _on_readable(self)
    cpdef timer_fired(self, now)
    cpdef _on_writable(self)
    @cython.locals(sent=Py_ssize_t)
    cpdef bint _write(self) except? -1
    @cython.locals(sent=Py_ssize_t)
    cpdef bint _write_run(self, bytearray run) except? -1
    cpdef _write_failed(self, error)
    cpdef _half_close(self)
    cpdef _read_on(self)
    cpdef _read_off(self)
    cpdef _close(self)
