/* The floor in C: what the kernel costs with nothing in front of it. Called on ready-made blocking sockets, so the
 * caller decides which family and options; loops here never touch Python. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, char *room, size_t size) {
    while (size) {
        ssize_t n = recv(fd, room, size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        room += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Echoes messages of `size` bytes on a stream until its end. */
int floor_echo_stream(int fd, char *room, size_t size) {
    while (receive_all(fd, room, size) == 0)
        if (send_all(fd, room, size)) return -1;
    return 0;
}

/* Echoes datagrams for ever; returns on an error. */
int floor_echo_datagram(int fd, char *room, size_t size) {
    struct sockaddr_storage from;
    for (;;) {
        socklen_t length = sizeof from;
        ssize_t n = recvfrom(fd, room, size, 0, (struct sockaddr *)&from, &length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (sendto(fd, room, (size_t)n, 0, (struct sockaddr *)&from, length) < 0) return -1;
    }
}

/* One message in flight until `nanoseconds` have passed or `room_samples` are full. `messages` holds `count` messages
 * of `size` bytes. Each answer is compared. Returns the number of samples, -1 on a socket error, -2 on a wrong answer. */
int64_t floor_ping(int fd, const char *messages, size_t count, size_t size, char *room, int64_t nanoseconds,
                   int64_t *samples, int64_t room_samples) {
    int64_t until = now_ns() + nanoseconds;
    int64_t taken = 0;
    while (taken < room_samples) {
        const char *message = messages + (size_t)(taken % (int64_t)count) * size;
        int64_t sent = now_ns();
        if (send_all(fd, message, size) || receive_all(fd, room, size)) return -1;
        int64_t here = now_ns();
        if (memcmp(room, message, size)) return -2;
        samples[taken++] = here - sent;
        if (here >= until) break;
    }
    return taken;
}
