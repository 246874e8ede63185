cimport cython

from transport.rudp.congestion.lossbased cimport LossBased

cdef double C, CONVERGENCE, ALPHA, GROWTH_MAX, SECOND
cdef long long BETA_TENTHS
cdef long long MOST


@cython.locals(scale=double, root=double)
cpdef double cube_root(double value)


cdef class Cubic(LossBased):
    cdef bint _in_epoch
    cdef long long _elapsed
    cdef double _origin
    cdef double _w_max
    cdef double _w_est
    cdef double _prior
    cdef double _fraction

    @cython.locals(steep=double, window=double, share=double, alpha=double, time=double, target=double, grown=double)
    cdef _avoid(self, long long acked, long long since, long long smoothed_rtt)
    @cython.locals(window=double)
    cdef _begin_epoch(self, double steep)
    @cython.locals(window="long long")
    cdef _before_cut(self)
    cdef object _kept(self)
    cdef _put_back(self, kept, bint is_higher)
    cdef _begin_anew(self)
    cdef _forget(self)
