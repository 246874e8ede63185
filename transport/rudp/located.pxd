cimport cython
from transport.rudp cimport pen
from transport.rudp.incoming cimport Incoming
from transport.rudp.sent cimport Item, SentPacket, SentRing

cdef int CLOSED, OPEN, SENT, CREDIT, FIXED_BIT, NEW_CID, PATH_CHALLENGE, RETIRE_CID
cdef long long LAST_PACKETS
cdef Py_ssize_t CHECKSUM_BYTES, CID_BYTES, CHALLENGE_BYTES, TOKEN_BYTES


cdef class Located(Incoming):
    cdef public bint is_client
    cdef public bytes token
    cdef public object paths, detour, ids
    cdef public long long path_at, path_changes, ids_at
    cdef public unsigned long long home
    cdef bytes _challenge, _response

    cpdef follow(self, path, long long now)
    @cython.locals(ring=SentRing, number="long long", packet=SentPacket, item=Item)
    cpdef leave_port(self, long long now)
    cpdef take_path(self, path, long long now)
    cpdef change_path(self, path, long long now)
    cpdef test_marks(self, long long now)
    @cython.locals(packet=SentPacket, number="long long", number_bytes=int, pos=Py_ssize_t, flags=int,
                   used="unsigned long long")
    cpdef Py_ssize_t write_probe(self, room, bytes frame, Py_ssize_t size, path, unsigned long long cid,
                                 long long now) except -1
