cdef class StreamSocket:
    cdef public object sock

    cpdef recv(self, Py_ssize_t size)
    cpdef Py_ssize_t send(self, list buffers, Py_ssize_t offset) except? -2
    cpdef Py_ssize_t send_run(self, bytearray run) except? -2
