/* A monotonic clock that runs slower, for programs under an instrument that makes them slower: with both by the same
   factor, timers fire as often per message as without. Preloaded by `bench.probes.where`; SLOW_CLOCK is the factor. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static long long base, factor = 1;

static long long joined(const struct timespec *at) { return at->tv_sec * SECOND + at->tv_nsec; }

static struct timespec split(long long ns) {
    struct timespec at = {ns / SECOND, ns % SECOND};
    return at;
}

__attribute__((constructor)) static void begin(void) {
    struct timespec now;
    const char *given = getenv("SLOW_CLOCK");
    if (given && atoll(given) > 0)
        factor = atoll(given);
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    base = joined(&now);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = (int) syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_MONOTONIC)
        *at = split(base + (joined(at) - base) / factor);
    return failed;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *given, struct itimerspec *old) {
    struct itimerspec asked = *given;
    long long at = joined(&given->it_value);
    if (at)
        asked.it_value = split(flags & TFD_TIMER_ABSTIME ? base + (at - base) * factor : at * factor);
    return (int) syscall(SYS_timerfd_settime, fd, flags, &asked, old);
}
