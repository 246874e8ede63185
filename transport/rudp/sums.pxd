from transport.rudp cimport checksum


cpdef unsigned int checksum_of(bytes data, int kind, unsigned int seed) except? 0
cpdef unsigned int crc32c_without_cpu(bytes data, unsigned int seed) except? 0
