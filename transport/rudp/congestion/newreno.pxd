cimport cython

from transport.rudp.congestion.lossbased cimport LossBased

cdef long long BETA_TENTHS
cdef long long MOST


cdef class NewReno(LossBased):
    cdef long long _credit

    @cython.locals(window="long long", grown="long long")
    cdef _avoid(self, long long acked, long long since, long long smoothed_rtt)
    cdef _begin_anew(self)
    cdef _before_cut(self)
    cdef _put_back(self, kept, bint is_higher)
    cdef _forget(self)
