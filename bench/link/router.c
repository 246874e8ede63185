/* The emulated link: a router in user space between two network namespaces, over TUN devices.
 *
 * It makes the namespaces itself and holds them by descriptors, so they are gone when it is, however it ends. Packets
 * come without VNET_HDR: real IP packets, segmented and with checksums. Per direction a packet meets, in this order:
 * hole, MTU, the queue before the rate, the rate, loss, corruption, delay with jitter, reordering, duplication.
 *
 * Arguments are NAME=NUMBER (see `options`) and congestion=NAME. Standard output: one line of JSON once both devices
 * are up, or {"error": ...}; then one for each line on standard input, and a last one at its end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "draws.h"

#define SECOND INT64_C(1000000000)
#define BUFFER_BYTES (INT64_C(64) << 20) /* packets in flight and queued, both directions */
#define PACKETS_MAX 65536
#define READ_BATCH 8           /* read from one side before what is due is written */
#define DEVICE_QUEUE 16384     /* packets that the kernel keeps for us while we are not on a core */
#define BURST_MEMORY 4096      /* mean cycles of silence after which the state is drawn anew, to bound the work */
#define SPIN_WINDOW (SECOND / 100)
#define COMMANDS_EVERY (SECOND / 1000) /* looks for commands while it spins */

enum { CLIENT, SERVER, SIDES };
enum purpose { LOSS, BURST, CORRUPT, CORRUPT_PLACE, JITTER, REORDER, DUPLICATE, DUPLICATE_JITTER, PURPOSES };

static const char *const side_names[SIDES] = {"client", "server"};
static const char *const addresses[SIDES] = {"10.77.0.1", "10.77.0.2"};

static struct {
    int64_t delay_ns, jitter_ns, reorder_ns, bad_ns, good_ns, rate_bits, queue_bytes, mtu, hole_at_ns, hole_ns;
    double loss, reorder, duplicate, corrupt;
    uint64_t seed;
    int64_t device_mtu, spin_ns, spin_share, priority, parent;
    const char *congestion;
} link_is;

static void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    char text[512];
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (char *at = text; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ') *at = '\'';
    printf("{\"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* Packets: slots of one size, and a heap of those that have a time. */

struct entry {
    int64_t due;
    uint64_t order;
    uint32_t slot, size;
    int from;
};

static uint8_t *buffer;
static int64_t slot_bytes;
static uint32_t slots, spare[PACKETS_MAX], spares;
static struct entry heap[PACKETS_MAX];
static uint32_t heap_size;
static uint64_t orders;

static uint8_t *slot_at(uint32_t slot) { return buffer + (int64_t)slot * slot_bytes; }

static int before(const struct entry *a, const struct entry *b) {
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void heap_push(struct entry entry) {
    uint32_t at = heap_size++;
    for (; at && before(&entry, &heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

static struct entry heap_pop(void) {
    struct entry top = heap[0], last = heap[--heap_size];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* One direction, named by the side that sends. */

struct direction {
    int fd; /* the sender's device */
    struct stream streams[PURPOSES];
    uint64_t in, in_bytes, out, out_bytes, hole, mtu, queue, loss, overflow, refused;
    uint64_t corrupted, reordered, overtaken, duplicated;
    int64_t free_at, remainder, queue_high, burst_until;
    int bad;
    uint64_t latest;
    struct histogram late;
};

static struct direction directions[SIDES];
static int64_t began; /* arrival of the first packet; 0 before it */

/* The queue before the rate, and the rate. Gives the time at which the last bit has left, or -1. */
static int64_t leaves_at(struct direction *d, int64_t size, int64_t now) {
    if (!link_is.rate_bits) return now;
    int64_t backlog = size, rate = link_is.rate_bits;
    if (d->free_at <= now) {
        d->free_at = now;
        d->remainder = 0;
    } else {
        __int128 bits = (__int128)(d->free_at - now) * rate + d->remainder;
        backlog += (int64_t)((bits + 8 * SECOND - 1) / (8 * SECOND));
    }
    if (backlog > link_is.queue_bytes) return -1;
    if (backlog > d->queue_high) d->queue_high = backlog;
    int64_t work = size * 8 * SECOND + d->remainder; /* the remainder keeps the rate exact over any number of packets */
    d->free_at += work / rate;
    d->remainder = work % rate;
    return d->free_at;
}

/* Bursts move with the clock alone, so the same seed meets the same bursts however much is sent. */
static void burst_stay(struct direction *d) {
    double mean = (double)(d->bad ? link_is.bad_ns : link_is.good_ns);
    d->burst_until += (int64_t)(exponential(&d->streams[BURST]) * mean) + 1;
}

static void burst_draw(struct direction *d, int64_t time) {
    double cycle = (double)(link_is.good_ns + link_is.bad_ns);
    d->bad = draw(&d->streams[BURST]) * cycle < (double)link_is.bad_ns;
    d->burst_until = time;
    burst_stay(d);
}

static int in_burst(struct direction *d, int64_t time) {
    if ((time - d->burst_until) / BURST_MEMORY >= link_is.good_ns + link_is.bad_ns) burst_draw(d, time);
    while (time >= d->burst_until) {
        d->bad = !d->bad;
        burst_stay(d);
    }
    return d->bad;
}

/* Changes one byte behind the IP header, so that a checksum is wrong, as on a real link. */
static void corrupt(struct direction *d, uint8_t *packet, int64_t size, double place) {
    int64_t head = packet[0] >> 4 == 6 ? 40 : (packet[0] & 15) * 4;
    if (size <= head) return;
    double scaled = place * (double)(size - head);
    int64_t at = (int64_t)scaled;
    packet[head + at] ^= (uint8_t)(1 + (int)((scaled - (double)at) * 255));
    d->corrupted++;
}

static void start(int64_t now) {
    began = now;
    for (int side = 0; side < SIDES && link_is.bad_ns; side++) burst_draw(&directions[side], now);
}

static void launch(struct direction *d, uint32_t slot, int64_t size, int64_t due) {
    heap_push((struct entry){due, orders++, slot, (uint32_t)size, (int)(d - directions)});
}

/* One packet that came: it is decided here, all of it. `slot` becomes spare again where it goes no further. */
static void arrive(struct direction *d, uint32_t slot, int64_t size, int64_t now) {
    double drawn[PURPOSES];
    for (int i = 0; i < PURPOSES; i++)
        if (i != BURST) drawn[i] = draw(&d->streams[i]);
    if (!began) start(now);
    int64_t since = now - began, leaves = -1, jitter = link_is.jitter_ns;
    if (link_is.hole_ns && since >= link_is.hole_at_ns && since < link_is.hole_at_ns + link_is.hole_ns)
        d->hole++;
    else if (size > link_is.mtu)
        d->mtu++;
    else if ((leaves = leaves_at(d, size, now)) < 0)
        d->queue++;
    else if (link_is.bad_ns ? in_burst(d, leaves) : drawn[LOSS] < link_is.loss) {
        d->loss++;
        leaves = -1;
    }
    if (leaves < 0) {
        spare[spares++] = slot;
        return;
    }
    if (drawn[CORRUPT] < link_is.corrupt) corrupt(d, slot_at(slot), size, drawn[CORRUPT_PLACE]);
    int64_t due = leaves + link_is.delay_ns + (int64_t)(drawn[JITTER] * (double)jitter);
    if (drawn[REORDER] < link_is.reorder) {
        due += link_is.reorder_ns;
        d->reordered++;
    }
    launch(d, slot, size, due);
    if (drawn[DUPLICATE] < link_is.duplicate) {
        if (!spares) {
            d->overflow++;
            return;
        }
        uint32_t copy = spare[--spares];
        memcpy(slot_at(copy), slot_at(slot), (size_t)size);
        d->duplicated++;
        launch(d, copy, size, leaves + link_is.delay_ns + (int64_t)(drawn[DUPLICATE_JITTER] * (double)jitter));
    }
}

/* Reads at most READ_BATCH packets; gives how many. */
static int take(struct direction *d) {
    static uint8_t nowhere[65536];
    for (int taken = 0; taken < READ_BATCH; taken++) {
        uint32_t slot = spares ? spare[spares - 1] : 0;
        ssize_t size = read(d->fd, spares ? slot_at(slot) : nowhere, spares ? (size_t)slot_bytes : sizeof nowhere);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno != EAGAIN) fail("device of the %s: %s", side_names[d - directions], strerror(errno));
        if (size <= 0) return taken;
        d->in++;
        d->in_bytes += (uint64_t)size;
        if (!spares) {
            d->overflow++;
            continue;
        }
        spares--;
        arrive(d, slot, size, now_ns());
    }
    return READ_BATCH;
}

/* Writes the packet that is due first; gives the time afterwards. */
static int64_t release(void) {
    struct entry entry = heap_pop();
    struct direction *d = &directions[entry.from];
    int64_t late = now_ns() - entry.due;
    ssize_t done;
    while ((done = write(directions[!entry.from].fd, slot_at(entry.slot), entry.size)) < 0 && errno == EINTR) continue;
    int64_t now = now_ns();
    spare[spares++] = entry.slot;
    if (done < 0) {
        d->refused++;
        return now;
    }
    record(&d->late, late);
    d->out++;
    d->out_bytes += entry.size;
    if (entry.order < d->latest) d->overtaken++;
    else d->latest = entry.order;
    return now;
}

/* The report: counters since the start, as JSON. */

static int namespaces[SIDES], outside;

/* What the kernel dropped at a device, before us and behind us; -1 where it can't be read. */
static int64_t device_drops(int side) {
    int64_t drops = -1;
    unsigned long long field[16];
    char line[512];
    if (setns(namespaces[side], CLONE_NEWNET)) return -1;
    FILE *file = fopen("/proc/thread-self/net/dev", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *at = strstr(line, "link0:");
        if (!at) continue;
        int n = 0;
        for (at += 6; n < 16; n++) field[n] = strtoull(at, &at, 10);
        drops = (int64_t)(field[3] + field[11]);
    }
    if (file) fclose(file);
    if (setns(outside, CLONE_NEWNET)) fail("can't come back from a namespace: %s", strerror(errno));
    return drops;
}

static int realtime;
static int64_t spun_ns;

static void report(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    int64_t cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * SECOND +
                  (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
    printf("{\"seconds\": %.6f, \"cpu_s\": %.6f, \"spun_s\": %.6f, \"realtime\": %s, \"in_flight\": %u",
           began ? (double)(now_ns() - began) / SECOND : 0.0, (double)cpu / SECOND, (double)spun_ns / SECOND,
           realtime ? "true" : "false", heap_size);
    for (int side = 0; side < SIDES; side++) {
        const struct direction *d = &directions[side];
        const struct histogram *h = &d->late;
        printf(", \"%s\": {\"packets_in\": %" PRIu64 ", \"bytes_in\": %" PRIu64 ", \"packets_out\": %" PRIu64
               ", \"bytes_out\": %" PRIu64 ", \"dropped\": {\"hole\": %" PRIu64 ", \"mtu\": %" PRIu64
               ", \"queue\": %" PRIu64 ", \"loss\": %" PRIu64 ", \"overflow\": %" PRIu64 ", \"refused\": %" PRIu64
               ", \"device\": %" PRId64 "}, \"duplicated\": %" PRIu64 ", \"corrupted\": %" PRIu64
               ", \"reordered\": %" PRIu64 ", \"overtaken\": %" PRIu64 ", \"queue_high_bytes\": %" PRId64,
               side_names[side], d->in, d->in_bytes, d->out, d->out_bytes, d->hole, d->mtu, d->queue, d->loss,
               d->overflow, d->refused, device_drops(side), d->duplicated, d->corrupted, d->reordered, d->overtaken,
               d->queue_high);
        printf(", \"lateness_ns\": {\"n\": %" PRIu64 ", \"p50\": %" PRId64 ", \"p99\": %" PRId64 ", \"p999\": %" PRId64
               ", \"max\": %" PRId64 "}}",
               h->n, quantile(h, 0.5), quantile(h, 0.99), quantile(h, 0.999), h->max);
    }
    printf("}\n");
    fflush(stdout);
}

/* A report for each line of standard input; the end of it is the end. */
static void obey(void) {
    char line[256];
    for (;;) {
        ssize_t n = read(0, line, sizeof line);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            report();
            exit(0);
        }
        for (ssize_t i = 0; i < n; i++)
            if (line[i] == '\n') report();
    }
}

/* Sleeps until something comes or `nanoseconds` have passed; below 0: for ever. */
static void sleep_for(int64_t nanoseconds) {
    struct pollfd wait[3] = {
        {directions[CLIENT].fd, POLLIN, 0}, {directions[SERVER].fd, POLLIN, 0}, {0, POLLIN, 0}};
    struct timespec time = {nanoseconds / SECOND, nanoseconds % SECOND};
    if (ppoll(wait, 3, nanoseconds < 0 ? NULL : &time, NULL) > 0 && wait[2].revents) obey();
}

/* Sleeping ends late, so the last part is spent in a loop; but no more than `spin_share` percent of a window, because a
 * real-time process that never sleeps is throttled for far longer than it would oversleep. */
static int64_t spin_left, spin_window;

static int may_spin(int64_t now) {
    if (now >= spin_window) {
        spin_window = now + SPIN_WINDOW;
        spin_left = SPIN_WINDOW / 100 * link_is.spin_share;
    }
    return spin_left > 0;
}

static void forward(void) {
    int64_t commands_at = 0, last = now_ns();
    for (;;) {
        int busy = take(&directions[CLIENT]) + take(&directions[SERVER]);
        int64_t now = now_ns();
        for (int n = 0; n < 2 * READ_BATCH && heap_size && heap[0].due <= now; n++, busy++) now = release();
        if (now >= commands_at) {
            struct pollfd input = {0, POLLIN, 0};
            if (poll(&input, 1, 0) > 0) obey();
            commands_at = now + COMMANDS_EVERY;
        }
        int64_t wait = heap_size ? heap[0].due - now : -1;
        if (!busy && heap_size && wait > 0 && wait <= link_is.spin_ns && may_spin(now)) {
            spin_left -= now - last;
            spun_ns += now - last;
        } else if (!busy && (!heap_size || wait > 0)) {
            sleep_for(wait > link_is.spin_ns && heap_size ? wait - link_is.spin_ns : wait);
            now = now_ns();
        }
        last = now;
    }
}

/* Setting up */

static void write_file(const char *path, const char *text, int needed) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if ((fd < 0 || write(fd, text, strlen(text)) < 0) && needed) fail("%s to %s: %s", text, path, strerror(errno));
    if (fd >= 0) close(fd);
}

static void set_congestion(void) {
    char known[512] = "";
    const char *path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    if (!link_is.congestion) return;
    FILE *file = fopen(path, "re");
    if (file && !fgets(known, sizeof known, file)) known[0] = 0;
    if (file) fclose(file);
    known[strcspn(known, "\n")] = 0;
    int fd = open("/proc/sys/net/ipv4/tcp_congestion_control", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, link_is.congestion, strlen(link_is.congestion)) < 0)
        fail("no congestion control %s here (%s); this kernel has: %s", link_is.congestion, strerror(errno), known);
    close(fd);
}

static void set_interface(int fd, const char *name, int64_t mtu, const char *address, const char *mask) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (mtu) {
        request.ifr_mtu = (int)mtu;
        if (ioctl(fd, SIOCSIFMTU, &request)) fail("MTU %d of %s: %s", request.ifr_mtu, name, strerror(errno));
        request.ifr_qlen = DEVICE_QUEUE;
        if (ioctl(fd, SIOCSIFTXQLEN, &request)) fail("queue of %s: %s", name, strerror(errno));
    }
    if (address) {
        struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
        memset(in, 0, sizeof *in);
        in->sin_family = AF_INET;
        inet_pton(AF_INET, address, &in->sin_addr);
        if (ioctl(fd, SIOCSIFADDR, &request)) fail("address of %s: %s", name, strerror(errno));
        inet_pton(AF_INET, mask, &in->sin_addr);
        if (ioctl(fd, SIOCSIFNETMASK, &request)) fail("netmask of %s: %s", name, strerror(errno));
    }
    if (ioctl(fd, SIOCGIFFLAGS, &request)) fail("flags of %s: %s", name, strerror(errno));
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request)) fail("%s up: %s", name, strerror(errno));
}

/* One side: a namespace, its loopback and the device, whose packets come to us. */
static void make_side(int side) {
    if (unshare(CLONE_NEWNET)) fail("no network namespace: %s", strerror(errno));
    namespaces[side] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (namespaces[side] < 0) fail("/proc/thread-self/ns/net: %s", strerror(errno));
    /* no router solicitations and the like, which would be drawn for and counted among the packets */
    write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1", 0);
    write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", 0);
    /* a connection must not begin with what an earlier one learnt about the link */
    write_file("/proc/sys/net/ipv4/tcp_no_metrics_save", "1", 1);
    set_congestion();
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) fail("/dev/net/tun: %s", strerror(errno));
    struct ifreq request;
    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "link0");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request)) fail("no TUN device: %s", strerror(errno));
    if (ioctl(fd, TUNSETOFFLOAD, 0)) fail("offloads off: %s", strerror(errno));
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) fail("socket: %s", strerror(errno));
    set_interface(control, "lo", 0, NULL, NULL);
    set_interface(control, "link0", link_is.device_mtu, addresses[side], "255.255.255.252");
    close(control);
    directions[side].fd = fd;
    for (int i = 0; i < PURPOSES; i++)
        stream_seed(&directions[side].streams[i], link_is.seed, (uint64_t)(side * 256 + i + 1));
}

static void make_buffer(void) {
    int64_t largest = link_is.mtu > link_is.device_mtu ? link_is.mtu : link_is.device_mtu;
    slot_bytes = (largest + 63) / 64 * 64;
    slots = (uint32_t)(BUFFER_BYTES / slot_bytes < PACKETS_MAX ? BUFFER_BYTES / slot_bytes : PACKETS_MAX);
    buffer = mmap(NULL, (size_t)(slots * slot_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) fail("no memory for %u packets", slots);
    for (uint32_t i = 0; i < slots; i++) spare[spares++] = slots - 1 - i;
}

static const struct option {
    const char *name;
    int64_t *whole;
    double *share;
} options[] = {
    {"delay_ns", &link_is.delay_ns, NULL},       {"jitter_ns", &link_is.jitter_ns, NULL},
    {"reorder_ns", &link_is.reorder_ns, NULL},   {"bad_ns", &link_is.bad_ns, NULL},
    {"good_ns", &link_is.good_ns, NULL},         {"rate_bits", &link_is.rate_bits, NULL},
    {"queue_bytes", &link_is.queue_bytes, NULL}, {"mtu", &link_is.mtu, NULL},
    {"hole_at_ns", &link_is.hole_at_ns, NULL},   {"hole_ns", &link_is.hole_ns, NULL},
    {"device_mtu", &link_is.device_mtu, NULL},   {"spin_ns", &link_is.spin_ns, NULL},
    {"spin_share", &link_is.spin_share, NULL},   {"priority", &link_is.priority, NULL},
    {"parent", &link_is.parent, NULL},           {"loss", NULL, &link_is.loss},
    {"reorder", NULL, &link_is.reorder},         {"duplicate", NULL, &link_is.duplicate},
    {"corrupt", NULL, &link_is.corrupt},
};

static void read_argument(const char *argument) {
    const char *value = strchr(argument, '=');
    if (!value) fail("%s: NAME=VALUE", argument);
    size_t length = (size_t)(value++ - argument);
    char *end = NULL;
    if (!strncmp(argument, "congestion=", length + 1)) {
        link_is.congestion = value;
        return;
    }
    if (!strncmp(argument, "seed=", length + 1)) {
        link_is.seed = strtoull(value, &end, 10);
        if (*end) fail("%s: no number", argument);
        return;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct option *option = &options[i];
        if (strlen(option->name) != length || strncmp(argument, option->name, length)) continue;
        if (option->whole) *option->whole = strtoll(value, &end, 10);
        else *option->share = strtod(value, &end);
        if (end == value || *end) fail("%s: no number", argument);
        return;
    }
    fail("%s: unknown", argument);
}

int main(int count, char **arguments) {
    link_is.spin_share = 50;
    for (int i = 1; i < count; i++) read_argument(arguments[i]);
    signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) fail("PR_SET_PDEATHSIG: %s", strerror(errno));
    if (link_is.parent && getppid() != link_is.parent) return 1; /* it was gone before */
    outside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    for (int side = 0; side < SIDES; side++) make_side(side);
    if (setns(outside, CLONE_NEWNET)) fail("can't come back from a namespace: %s", strerror(errno));
    make_buffer();
    prctl(PR_SET_TIMERSLACK, 1);
    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); /* where it is permitted; so is the next */
    struct sched_param priority = {(int)link_is.priority};
    realtime = priority.sched_priority && !sched_setscheduler(0, SCHED_FIFO, &priority);
    fcntl(0, F_SETFL, O_NONBLOCK);
    struct stat seen[SIDES];
    for (int side = 0; side < SIDES; side++)
        if (fstat(namespaces[side], &seen[side])) fail("fstat: %s", strerror(errno));
    printf("{\"realtime\": %s, \"client\": {\"fd\": %d, \"inode\": %ju}, \"server\": {\"fd\": %d, \"inode\": %ju}}\n",
           realtime ? "true" : "false", namespaces[CLIENT], (uintmax_t)seen[CLIENT].st_ino, namespaces[SERVER],
           (uintmax_t)seen[SERVER].st_ino);
    fflush(stdout);
    forward();
    return 0;
}
