cimport cython

cdef Py_ssize_t _DEPTH_MAX, _ELEMENTS_MAX, _ENTRIES_MAX, _JSON_DEPTH_MAX, _JSON_ELEMENTS_MAX
cdef int _DONE, _WANTS_MORE
cdef int _SCALAR, _TEXT, _EXT, _ARRAY, _MAP
cdef long long _ONE
cdef bytes _LENGTHS, _BODIES, _KINDS


cdef class Scanner:
    cdef public int state
    cdef public Py_ssize_t consumed
    cdef frozenset _ext_codes
    cdef bint _any_ext
    cdef bint _text_keys
    cdef Py_ssize_t _stack[64]
    cdef Py_ssize_t _room
    cdef Py_ssize_t _depth
    cdef Py_ssize_t _left
    cdef long long _maps
    cdef Py_ssize_t _skip
    cdef Py_ssize_t _elements
    cdef Py_ssize_t _detail

    cpdef begin(self, Py_ssize_t room)
    cpdef int check(self, bytes data) except? -1
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, limit=Py_ssize_t, left=Py_ssize_t, byte=int, head=Py_ssize_t,
                   size=Py_ssize_t, kind=int)
    cpdef Py_ssize_t advance(self, bytes data, Py_ssize_t pos) except? -1
    @cython.locals(step=Py_ssize_t)
    cdef Py_ssize_t _pass_body(self, Py_ssize_t pos, Py_ssize_t end) except? -1
    @cython.locals(size=Py_ssize_t, i=Py_ssize_t, code=int)
    cdef Py_ssize_t _read_size(self, bytes data, Py_ssize_t pos, int row, Py_ssize_t head) except? -1
    @cython.locals(bit=cython.longlong)
    cdef void _enter(self, int kind, Py_ssize_t size, Py_ssize_t left) noexcept
    cdef Py_ssize_t _refuse(self, int state, Py_ssize_t pos, Py_ssize_t detail) except? -1


@cython.locals(pos=Py_ssize_t, end=Py_ssize_t, depth=Py_ssize_t, elements=Py_ssize_t, byte=int)
cpdef int scan_json(bytes data)
