# inline: not a module to build; compiled modules cimport these in place of longs.py
from cpython cimport array
from cpython.object cimport Py_SIZE
from libc.string cimport memmove


cdef inline array.array new():
    return array.array("q")


cdef inline long long get(array.array numbers, Py_ssize_t index) except? -1:
    if index < 0 or index >= Py_SIZE(numbers):
        raise IndexError(index)
    return numbers.data.as_longlongs[index]


cdef inline int append(array.array numbers, long long value) except -1:
    cdef Py_ssize_t size = Py_SIZE(numbers)
    array.resize_smart(numbers, size + 1)
    numbers.data.as_longlongs[size] = value
    return 0


cdef inline int drop(array.array numbers, Py_ssize_t count) except -1:
    cdef Py_ssize_t size = Py_SIZE(numbers)
    if count < 0 or count > size:
        raise IndexError(count)
    memmove(numbers.data.as_longlongs, numbers.data.as_longlongs + count, (size - count) * sizeof(long long))
    array.resize_smart(numbers, size - count)
    return 0


cdef inline int splice(array.array numbers, Py_ssize_t low, Py_ssize_t high, int count, long long one,
                       long long other) except -1:
    cdef Py_ssize_t size = Py_SIZE(numbers), more = count - (high - low)
    cdef long long *at
    if not 0 <= low <= high <= size:
        raise IndexError(low)
    if more > 0:
        array.resize_smart(numbers, size + more)
    at = numbers.data.as_longlongs + low
    if more:
        memmove(at + count, numbers.data.as_longlongs + high, (size - high) * sizeof(long long))
    if more < 0:
        array.resize_smart(numbers, size + more)
        at = numbers.data.as_longlongs + low
    if count:
        at[0] = one
    if count > 1:
        at[1] = other
    return 0


cdef inline Py_ssize_t size(array.array numbers) noexcept:
    return Py_SIZE(numbers)


cdef inline Py_ssize_t up_to(array.array numbers, long long value) noexcept:
    cdef const long long *at = numbers.data.as_longlongs
    cdef Py_ssize_t low = 0, high = Py_SIZE(numbers), middle
    while low < high:
        middle = (low + high) >> 1
        if at[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low
