# inline: not a module to build; compiled modules cimport these in place of checksum.py
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef extern from *:
    """
    #ifndef TRANSPORT_CHECKSUM_H
    #define TRANSPORT_CHECKSUM_H
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    #define TRANSPORT_CRC_BY_CPU 1
    #include <nmmintrin.h>
    #include <wmmintrin.h>
    #endif
    #if defined(__GNUC__) || defined(__clang__)
    #define TRANSPORT_MAYBE_UNUSED __attribute__((unused))
    #else
    #define TRANSPORT_MAYBE_UNUSED
    #endif

    /* Eight bytes at a time by eight tables (M. Kounavis, F. Berry: "Novel Table Lookup-Based Algorithms for
       High-Performance CRC Generation", 2008). tables[k][b] is byte b with k zero bytes behind it. */
    static uint32_t transport_crc32_tables[8][256];
    static uint32_t transport_crc32c_tables[8][256];

    static void transport_crc_fill(uint32_t tables[8][256], uint32_t polynomial) {
        uint32_t entry;
        int byte, k;
        for (byte = 0; byte < 256; byte++) {
            entry = (uint32_t) byte;
            for (k = 0; k < 8; k++)
                entry = (entry >> 1) ^ ((entry & 1) ? polynomial : 0);
            tables[0][byte] = entry;
        }
        for (k = 1; k < 8; k++)
            for (byte = 0; byte < 256; byte++)
                tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 0xFF];
    }

    static uint32_t transport_crc_by_tables(const uint32_t t[8][256], const unsigned char *p, size_t n, uint32_t crc) {
        uint32_t low, high;
        for (; n >= 8; n -= 8, p += 8) {
            low = crc ^ ((uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24);
            high = (uint32_t) p[4] | (uint32_t) p[5] << 8 | (uint32_t) p[6] << 16 | (uint32_t) p[7] << 24;
            crc = t[7][low & 0xFF] ^ t[6][low >> 8 & 0xFF] ^ t[5][low >> 16 & 0xFF] ^ t[4][low >> 24]
                ^ t[3][high & 0xFF] ^ t[2][high >> 8 & 0xFF] ^ t[1][high >> 16 & 0xFF] ^ t[0][high >> 24];
        }
        while (n--)
            crc = (crc >> 8) ^ t[0][(crc ^ *p++) & 0xFF];
        return crc;
    }

    static TRANSPORT_MAYBE_UNUSED uint32_t transport_crc32_portable(const unsigned char *p, size_t n, uint32_t seed) {
        if (!transport_crc32_tables[7][255])
            transport_crc_fill(transport_crc32_tables, 0xEDB88320u);
        return ~transport_crc_by_tables((const uint32_t (*)[256]) transport_crc32_tables, p, n, ~seed);
    }

    static TRANSPORT_MAYBE_UNUSED uint32_t transport_crc32c_portable(const unsigned char *p, size_t n, uint32_t seed) {
        if (!transport_crc32c_tables[7][255])
            transport_crc_fill(transport_crc32c_tables, 0x82F63B78u);
        return ~transport_crc_by_tables((const uint32_t (*)[256]) transport_crc32c_tables, p, n, ~seed);
    }

    #ifdef TRANSPORT_CRC_BY_CPU
    static int transport_has_crc(void) {
        static int has = -1;
        if (has < 0) {
            __builtin_cpu_init();
            has = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
        }
        return has;
    }

    /* No instruction has the polynomial of CRC-32, so 16 bytes at a time are multiplied by the powers of x that move
       them to where the next 16, or the 16 after four such, lie, and added there: what is left after the last has the
       checksum of all (V. Gopal et al.: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", 2009). */
    __attribute__((target("sse4.2,pclmul")))
    static inline __m128i transport_crc32_moved(__m128i run, __m128i factors, const unsigned char *p) {
        __m128i low = _mm_clmulepi64_si128(run, factors, 0x00), high = _mm_clmulepi64_si128(run, factors, 0x11);
        return _mm_xor_si128(_mm_xor_si128(low, high), _mm_loadu_si128((const __m128i *) p));
    }

    __attribute__((target("sse4.2,pclmul")))
    static TRANSPORT_MAYBE_UNUSED uint32_t transport_crc32_by_cpu(const unsigned char *p, size_t n, uint32_t seed) {
        const __m128i by_64 = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);
        const __m128i by_16 = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
        unsigned char rest[64];
        __m128i run[4];
        int i;
        for (i = 0; i < 4; i++)
            run[i] = _mm_loadu_si128((const __m128i *) (p + 16 * i));
        run[0] = _mm_xor_si128(run[0], _mm_cvtsi32_si128((int) ~seed));
        for (n -= 64, p += 64; n >= 64; n -= 64, p += 64)
            for (i = 0; i < 4; i++)
                run[i] = transport_crc32_moved(run[i], by_64, p + 16 * i);
        for (i = 0; i < 4; i++)
            _mm_storeu_si128((__m128i *) (rest + 16 * i), run[i]);
        for (i = 1; i < 4; i++)
            run[0] = transport_crc32_moved(run[0], by_16, rest + 16 * i);
        for (; n >= 16; n -= 16, p += 16)
            run[0] = transport_crc32_moved(run[0], by_16, p);
        _mm_storeu_si128((__m128i *) rest, run[0]);
        return transport_crc32_portable(p, n, transport_crc32_portable(rest, 16, 0xFFFFFFFFu));
    }

    static inline uint64_t transport_load64(const unsigned char *p) {
        uint64_t word;
        memcpy(&word, p, 8);
        return word;
    }

    /* The CPU's crc32 takes 8 bytes every cycle but needs 3 cycles for each, so three runs of a block each go side by
       side. A run is then moved over the blocks behind it: multiplied by a power of x without carries, and the product,
       64 bits of message, reduced by one more crc32 (which multiplies by x^32; the product of two mirrored numbers is
       x too high). So the factor for n bytes is x^(8n - 33). */
    #define TRANSPORT_STEP(a, b, c, p, block) \\
        a = _mm_crc32_u64(a, transport_load64(p)); \\
        b = _mm_crc32_u64(b, transport_load64((p) + (block))); \\
        c = _mm_crc32_u64(c, transport_load64((p) + 2 * (block)))

    __attribute__((target("sse4.2,pclmul")))
    static inline uint64_t transport_crc32c_moved(uint64_t crc, uint32_t factor) {
        __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) crc), _mm_cvtsi32_si128((int) factor), 0);
        return _mm_crc32_u64(0, (uint64_t) _mm_cvtsi128_si64(product));
    }

    __attribute__((target("sse4.2,pclmul")))
    static inline const unsigned char *transport_crc32c_three(
            const unsigned char *p, size_t *n, uint64_t *crc, const size_t block, uint32_t once, uint32_t twice) {
        while (*n >= 3 * block) {
            uint64_t a = *crc, b = 0, c = 0;
            const unsigned char *end = p + block;
            while (p < end) {
                TRANSPORT_STEP(a, b, c, p, block);
                p += 8;
            }
            p += 2 * block;
            *n -= 3 * block;
            *crc = transport_crc32c_moved(a, twice) ^ transport_crc32c_moved(b, once) ^ c;
        }
        return p;
    }

    __attribute__((target("sse4.2,pclmul")))
    static uint32_t transport_crc32c_by_cpu(const unsigned char *p, size_t n, uint32_t seed) {
        uint64_t crc = ~seed;
        p = transport_crc32c_three(p, &n, &crc, 1024, 0x170076FAu, 0xA51B6135u);
        p = transport_crc32c_three(p, &n, &crc, 128, 0x0D3B6092u, 0xB9E02B86u);
        for (; n >= 8; n -= 8, p += 8)
            crc = _mm_crc32_u64(crc, transport_load64(p));
        while (n--)
            crc = _mm_crc32_u8((uint32_t) crc, *p++);
        return ~(uint32_t) crc;
    }
    #endif

    static TRANSPORT_MAYBE_UNUSED uint32_t transport_crc32(const unsigned char *p, size_t n, uint32_t seed) {
    #ifdef TRANSPORT_CRC_BY_CPU
        if (n >= 64 && transport_has_crc())
            return transport_crc32_by_cpu(p, n, seed);
    #endif
        return transport_crc32_portable(p, n, seed);
    }

    static TRANSPORT_MAYBE_UNUSED uint32_t transport_crc32c(const unsigned char *p, size_t n, uint32_t seed) {
    #ifdef TRANSPORT_CRC_BY_CPU
        if (transport_has_crc())
            return transport_crc32c_by_cpu(p, n, seed);
    #endif
        return transport_crc32c_portable(p, n, seed);
    }
    #endif
    """
    unsigned int crc32_of "transport_crc32"(const unsigned char *data, size_t size, unsigned int seed) noexcept nogil
    unsigned int crc32c_of "transport_crc32c"(const unsigned char *data, size_t size, unsigned int seed) noexcept nogil
    unsigned int crc32c_tables "transport_crc32c_portable"(
        const unsigned char *data, size_t size, unsigned int seed) noexcept nogil


cdef inline const unsigned char *within(bytes data, Py_ssize_t start, Py_ssize_t end) except NULL:
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise IndexError(start)
    return <const unsigned char *> PyBytes_AS_STRING(data) + start


cdef inline unsigned int crc32(bytes data, Py_ssize_t start, Py_ssize_t end, unsigned int seed) except? 0:
    return crc32_of(within(data, start, end), end - start, seed)


cdef inline unsigned int crc32c(bytes data, Py_ssize_t start, Py_ssize_t end, unsigned int seed) except? 0:
    return crc32c_of(within(data, start, end), end - start, seed)


cdef inline unsigned int crc32c_portable(bytes data, Py_ssize_t start, Py_ssize_t end, unsigned int seed) except? 0:
    return crc32c_tables(within(data, start, end), end - start, seed)
