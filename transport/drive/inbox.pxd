cimport cython
from transport.session cimport Batch


cdef object _TASKS
cdef Py_ssize_t COST
cdef object _current_task

cdef bint _task_running(loop)


cdef class Waiter:
    cdef object _loop
    cdef public bint _asyncio_future_blocking
    cdef object _callback
    cdef object _context
    cdef int _state
    cdef object _message
    cdef public bint direct
    cpdef reset(self)
    cpdef wake(self)


cdef class Inbox:
    cdef public Py_ssize_t size
    cdef public int channel
    cdef public int delivery
    cdef public long long dropped
    cdef public object waiter
    cdef object _batches
    cdef Py_ssize_t _position
    cdef Py_ssize_t _loose
    cdef Py_ssize_t _loose_max
    cdef Waiter _spare

    cpdef push(self, Batch batch)
    @cython.locals(batch=Batch)
    cpdef _drop(self)
    @cython.locals(batch=Batch, payloads=list, payload=bytes, size=Py_ssize_t)
    cpdef pop(self)
    cpdef wake_if_ready(self)
    @cython.locals(waiter=Waiter)
    cpdef arm(self, loop)
    cpdef list split(self, int channel)
    cpdef clear(self)
    cpdef wake(self)
