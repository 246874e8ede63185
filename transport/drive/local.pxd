from transport.drive.stream cimport SocketDriver


cdef class LocalDriver(SocketDriver):
    pass
