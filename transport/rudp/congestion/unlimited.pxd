from transport.rudp.congestion.base cimport Controller


cdef class Unlimited(Controller):
    pass
