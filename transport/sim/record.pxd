# inline: not a module to build; trace cimports this in place of record.py
from cpython.bytearray cimport PyByteArray_AS_STRING


cdef inline void _put_little(unsigned char *to, int count, unsigned long long value) noexcept:
    cdef int index
    for index in range(count):
        to[index] = <unsigned char>(value >> (8 * index))


cdef inline Py_ssize_t put(bytearray pending, Py_ssize_t pos, int fate, int link, long long time, Py_ssize_t size,
                           unsigned long long checksum, long long arrival):
    cdef unsigned char *to = <unsigned char *>PyByteArray_AS_STRING(pending) + pos
    to[0] = <unsigned char>fate
    _put_little(to + 1, 4, <unsigned long long>link)
    _put_little(to + 5, 8, <unsigned long long>time)
    _put_little(to + 13, 4, <unsigned long long>size)
    _put_little(to + 17, 4, checksum)
    _put_little(to + 21, 8, <unsigned long long>arrival)
    return pos + 29
