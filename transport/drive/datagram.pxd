cimport cython
from libc.stdint cimport int64_t
from transport.datagram.base cimport Endpoint, PeerSession
from transport.drive.base cimport Driver, Owner
from transport.net cimport clock
from transport.net.datagram_base cimport DatagramSocket, Entry, Outgoing

cdef Py_ssize_t ROOM_BYTES, STRIDE, ROOMS, BATCH, DATAGRAMS_PER_TICK, READ_BYTES, CALLS_PER_FLUSH
cdef long long TICK_NS


cdef class Rooms:
    cdef public Outgoing batch
    cdef public list views


cdef class Seat:
    cdef public Owner owner
    cdef public PeerSession session
    cdef public bint is_paused
    cdef public bint has_missed
    cdef public bint is_gone


cdef class DatagramDriver(Driver):
    cdef readonly DatagramSocket sock
    cdef readonly object machine
    cdef readonly Endpoint endpoint
    cdef public object accept
    cdef readonly long long refused
    cdef public object granted
    cdef public long long armed_at
    cdef public long long busy_poll_ns
    cdef public bint may_linger
    cdef public object on_trouble
    cdef bint _is_shared
    cdef object _timers
    cdef object _clock
    cdef Outgoing _batch
    cdef list _views
    cdef dict _seats
    cdef list _resumed
    cdef int _fd
    cdef Outgoing _held
    cdef readonly bint _is_blocked
    cdef bint _has_cleared
    cdef bint _is_scheduled
    cdef bint _is_inside
    cdef bint _is_pumping
    cdef readonly bint _is_reading
    cdef readonly bint _has_ended
    cdef bint _is_started

    cpdef start(self)
    @cython.locals(seat=Seat)
    cpdef Seat _seat(self, Owner owner)
    cpdef _release(self)
    cpdef bint _lingers(self) except? -1
    @cython.final
    cdef bint _is_over(self) except? -1
    cpdef _lose(self, Seat seat, error)
    cpdef int64_t now(self) except? -1
    cpdef wake(self)
    cpdef _schedule(self)
    cpdef _finish(self, Seat seat)
    cpdef _cut(self, Seat seat, error)
    @cython.locals(now=cython.longlong)
    cpdef _on_readable(self)
    @cython.locals(limit=cython.longlong, until=cython.longlong)
    @cython.final
    cdef _busy_poll(self, long long now)
    @cython.locals(sock=DatagramSocket, began=cython.longlong, count=Py_ssize_t, size=Py_ssize_t)
    @cython.final
    cdef bint _take_in(self, long long now) except? -1
    @cython.final
    cdef _attend(self, long long now)
    @cython.final
    cdef _watch_again(self)
    @cython.locals(endpoint=Endpoint, session=PeerSession, following=PeerSession, fresh=PeerSession)
    @cython.final
    cdef _deliver(self)
    @cython.final
    cdef _welcome(self, PeerSession session)
    @cython.final
    cdef _deliver_to(self, Seat seat)
    @cython.locals(seat=Seat, resumed=list)
    cpdef _tick(self)
    @cython.locals(more=bint, due=cython.longlong, endpoint=Endpoint)
    @cython.final
    cdef _flush(self, long long now)
    @cython.locals(session=PeerSession, following=PeerSession, seat=Seat)
    @cython.final
    cdef _tell_flushed(self)
    @cython.final
    cdef _flushed(self, Seat seat)
    @cython.locals(batch=Outgoing, done=bint, payload=bytes)
    @cython.final
    cdef bint _pump(self, long long now) except? -1
    @cython.locals(slot=Py_ssize_t, item=Entry)
    @cython.final
    cdef bint _collect(self, Outgoing batch, long long now) except? -1
    @cython.locals(done=bint)
    @cython.final
    cdef bint _hand_over(self, Outgoing batch, long long now) except? -1
    @cython.final
    cdef _hold(self, Outgoing batch)
    @cython.locals(held=Outgoing, now=cython.longlong)
    cpdef _on_writable(self)
    cpdef timer_fired(self, now)
    cpdef _broken(self, str what, error)
