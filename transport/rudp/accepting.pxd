cimport cython
from transport.rudp.outflow cimport Fence, OutChannel, Outflow
from transport.rudp.outlane cimport OutLane
from transport.rudp.schedule cimport Schedule
from transport.rudp.turns cimport Exchange, TurnSession

cdef int FLUSHING, NEW, STREAM_CHANNEL
cdef Py_ssize_t COST, FLIGHT_ALL_MAX, FLIGHT_MAX, LOOSE_MAX, PRESSING_BYTES


cdef class Accepting(TurnSession):
    cdef public object config
    cdef public int life
    cdef public Outflow flow
    cdef public Schedule schedule
    cdef public bint is_starved
    cdef public long long messages_sent
    cdef public object trace
    cdef readonly list _channels
    cdef long long _channel_limit
    cdef int _channels_max
    cdef dict _lanes
    cdef OutLane _last_lane

    @cython.locals(size=Py_ssize_t, lane=OutLane)
    cpdef send_copies(self, bytes payload, int channel, int delivery, int priority, long long expires_at, int copies,
                      long long now)
    @cython.locals(flow=Outflow, exchange=Exchange, flight=Py_ssize_t, room=Py_ssize_t)
    cpdef _show_queue(self)
    cpdef _queue(self, OutLane lane, bytes payload, int priority, long long expires_at, int copies)
    @cython.locals(lane=OutLane)
    cpdef OutLane _lane(self, int channel, int delivery)
    @cython.locals(fence=Fence, lane=OutLane)
    cpdef fence(self)
    @cython.locals(channels=list, state=OutChannel)
    cpdef OutChannel _channel(self, int channel)
    cpdef _activate(self, OutLane lane)
    @cython.locals(lane=OutLane)
    cpdef _wake_lanes(self)
