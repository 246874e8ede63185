/* What the router draws and what it counts: random streams and a histogram. Part of router.c, by #include.
 *
 * The same seed gives the same draws on every machine: nothing here calls the C library. */
#include <stdint.h>

#define SUB_BUCKETS 64 /* of the histogram, for each doubling */

/* Random numbers: xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), each
 * stream seeded by splitmix64. One stream for each direction and purpose, each drawn once for every packet that comes:
 * what befalls the n-th packet does not depend on what befell others, nor on what else the link does. */

struct stream {
    uint64_t s[4];
};

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void stream_seed(struct stream *stream, uint64_t seed, uint64_t name) {
    uint64_t x = seed;
    x = splitmix(&x) ^ name;
    for (int i = 0; i < 4; i++) stream->s[i] = splitmix(&x);
}

static uint64_t rotated(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

/* Uniform from 0 to below 1. */
static double draw(struct stream *stream) {
    uint64_t *s = stream->s, result = rotated(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

/* Exponential with mean 1, by comparisons alone: the same on every C library (von Neumann 1951). */
static double exponential(struct stream *stream) {
    for (double whole = 0;; whole += 1) {
        double first = draw(stream), last = first, value = draw(stream);
        int falls = 1;
        while (value < last) {
            last = value;
            falls++;
            value = draw(stream);
        }
        if (falls % 2) return whole + first;
    }
}

/* Lateness: a histogram with SUB_BUCKETS for each doubling, so a bucket is 1.6 % wide at most. */

struct histogram {
    uint64_t count[64 * SUB_BUCKETS], n;
    int64_t max;
};

static int bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS) return (int)value;
    int octave = 63 - __builtin_clzll(value) - 6;
    return octave * SUB_BUCKETS + (int)(value >> octave);
}

/* Its upper end. */
static int64_t bucket_top(int bucket) {
    if (bucket < 2 * SUB_BUCKETS) return bucket;
    int octave = bucket / SUB_BUCKETS - 1;
    return ((int64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS + 1) << octave) - 1;
}

static void record(struct histogram *h, int64_t value) {
    if (value < 0) value = 0;
    h->count[bucket_of((uint64_t)value)]++;
    h->n++;
    if (value > h->max) h->max = value;
}

static int64_t quantile(const struct histogram *h, double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)h->n);
    for (int i = 0; i < 64 * SUB_BUCKETS; i++) {
        seen += h->count[i];
        if (seen > wanted) return bucket_top(i) < h->max ? bucket_top(i) : h->max;
    }
    return h->max;
}
