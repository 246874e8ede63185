# inline: the C declarations of _native.pyx and _datagram.pyx, for nobody else
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "Python.h":
    PyObject *bytes_new "PyBytes_FromStringAndSize" (const char *text, Py_ssize_t size)
    int _PyBytes_Resize(PyObject **text, Py_ssize_t size) except -1
    char *bytes_text "PyBytes_AS_STRING" (PyObject *text)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE" (PyObject *text)
    void drop_reference "Py_DECREF" (PyObject *text)

cdef extern from "time.h":
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *value) nogil
    int CLOCK_MONOTONIC

cdef extern from "unistd.h":
    ssize_t read(int fd, void *data, size_t size)
    int c_close "close" (int fd)

cdef extern from "sys/uio.h":
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "sys/socket.h":
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t size)
    size_t CMSG_SPACE(size_t size)
    int AF_INET, AF_INET6, AF_UNIX
    int MSG_NOSIGNAL, MSG_DONTWAIT, MSG_TRUNC, MSG_ERRQUEUE
    int SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET
    ssize_t c_recv "recv" (int fd, void *data, size_t size, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t size, int flags)
    ssize_t recvfrom(int fd, void *data, size_t size, int flags, sockaddr *address, socklen_t *address_size)
    ssize_t sendto(int fd, const void *data, size_t size, int flags, const sockaddr *address, socklen_t address_size)
    int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *wait)
    int accept4(int fd, sockaddr *address, socklen_t *size, int flags)

cdef extern from "netinet/in.h":
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    cdef struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr
    cdef struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    int IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP
    int IP_TOS, IP_PKTINFO, IP_RECVERR
    int IPV6_TCLASS, IPV6_PKTINFO, IPV6_RECVERR

cdef extern from "linux/errqueue.h":
    cdef struct sock_extended_err:
        uint32_t ee_errno
        uint8_t ee_origin
    int SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6

cdef extern from "sys/un.h":
    cdef struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "arpa/inet.h":
    uint16_t ntohs(uint16_t value)
    uint16_t htons(uint16_t value)
    uint32_t ntohl(uint32_t value)
    const char *inet_ntop(int family, const void *source, char *target, socklen_t size)
    int inet_pton(int family, const char *source, void *target)

cdef extern from "sys/timerfd.h":
    cdef struct itimerspec:
        timespec it_interval
        timespec it_value
    int TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME
    int c_timerfd_create "timerfd_create" (int clock, int flags)
    int c_timerfd_settime "timerfd_settime" (int fd, int flags, const itimerspec *new, itimerspec *old)
