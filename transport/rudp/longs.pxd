# inline: not a module to build; compiled modules cimport these in place of longs.py
from cpython cimport array
from libc.string cimport memmove


cdef inline array.array new():
    return array.array("q")


cdef inline long long get(array.array numbers, Py_ssize_t index) except? -1:
    if index < 0 or index >= len(numbers):
        raise IndexError(index)
    return numbers.data.as_longlongs[index]


cdef inline int append(array.array numbers, long long value) except -1:
    cdef Py_ssize_t size = len(numbers)
    array.resize_smart(numbers, size + 1)
    numbers.data.as_longlongs[size] = value
    return 0


cdef inline int drop(array.array numbers, Py_ssize_t count) except -1:
    cdef Py_ssize_t size = len(numbers)
    if count < 0 or count > size:
        raise IndexError(count)
    memmove(numbers.data.as_longlongs, numbers.data.as_longlongs + count, (size - count) * sizeof(long long))
    array.resize_smart(numbers, size - count)
    return 0


cdef inline Py_ssize_t find(array.array numbers, long long value) noexcept:
    cdef Py_ssize_t low = 0, high = len(numbers), middle
    while low < high:
        middle = (low + high) // 2
        if numbers.data.as_longlongs[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1
