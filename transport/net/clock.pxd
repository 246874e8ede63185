# inline: not a module to build; compiled modules cimport this in place of clock.py
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec


cdef inline long long monotonic_ns() noexcept:
    cdef timespec value
    clock_gettime(CLOCK_MONOTONIC, &value)
    return <long long> value.tv_sec * 1000000000 + value.tv_nsec
