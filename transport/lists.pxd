# inline: not a module to build; compiled modules cimport these in place of lists.py
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

cdef extern from "Python.h":
    void Py_SET_SIZE(PyObject *items, Py_ssize_t size)


cdef inline object pop_last(list items):
    cdef Py_ssize_t last = PyList_GET_SIZE(items) - 1
    if last < 0:
        raise IndexError("pop from an empty list")
    item = <object> PyList_GET_ITEM(items, last)  # a reference of our own,
    Py_SET_SIZE(<PyObject *> items, last)
    Py_DECREF(item)  # so that the list's can go
    return item
