"""Checksums have their published values, whoever computes them, at every length and from every seed."""

from __future__ import annotations

import random
import zlib

import pytest

from transport.rudp import checksum, sums

# RFC 3720 appendix B.4, whose bytes are the lowest first; the last is the check value of every catalogue of CRCs.
CASTAGNOLI = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
]
# Around the runs of three that the CPU's instruction goes in: 3 x 128 and 3 x 1024 bytes.
LENGTHS = [*range(70), 127, 128, 383, 384, 385, 391, 767, 768, 1199, 1200, 3071, 3072, 3073, 3456, 6144, 6535, 10_000]


@pytest.mark.parametrize(("data", "value"), CASTAGNOLI)
def test_published_values(data: bytes, value: int) -> None:
    assert checksum.crc32c(data, 0, len(data), 0) == value
    assert sums.checksum_of(data, sums.CRC32C, 0) == value
    assert sums.crc32c_without_cpu(data, 0) == value


def test_published_value_of_crc32() -> None:
    assert checksum.crc32(b"123456789", 0, 9, 0) == sums.checksum_of(b"123456789", sums.CRC32, 0) == 0xCBF43926


def test_a_kind_that_is_none() -> None:
    assert sums.checksum_of(b"123456789", sums.NONE, 7) == 0


@pytest.mark.parametrize("size", LENGTHS)
def test_every_way_agrees(size: int, rng: random.Random) -> None:
    data, seed = rng.randbytes(size), rng.getrandbits(32)
    value = checksum.crc32c(data, 0, size, seed)
    assert sums.checksum_of(data, sums.CRC32C, seed) == value
    assert sums.crc32c_without_cpu(data, seed) == value
    assert sums.checksum_of(data, sums.CRC32, seed) == zlib.crc32(data, seed)


@pytest.mark.parametrize("kind", [sums.CRC32, sums.CRC32C])
def test_a_seed_goes_on(kind: int, rng: random.Random) -> None:
    """The checksum of two pieces, the second seeded with that of the first, is that of both in one."""
    for _ in range(20):
        data = rng.randbytes(rng.randrange(3000))
        cut = rng.randrange(len(data) + 1)
        first = sums.checksum_of(data[:cut], kind, 0)
        assert sums.checksum_of(data[cut:], kind, first) == sums.checksum_of(data, kind, 0)


@pytest.mark.parametrize("kind", [sums.CRC32, sums.CRC32C])
def test_seeds_of_32_bits(kind: int) -> None:
    values = {sums.checksum_of(b"a packet", kind, seed) for seed in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)}
    assert len(values) == 5


def test_a_part_of_some_bytes(rng: random.Random) -> None:
    data = rng.randbytes(500)
    for function in (checksum.crc32, checksum.crc32c):
        assert function(data, 100, 400, 5) == function(data[100:400], 0, 300, 5)
        assert function(data, 500, 500, 5) == 5
        for start, end in ((-1, 5), (6, 5), (0, 501)):
            with pytest.raises(IndexError):
                function(data, start, end, 0)


@pytest.mark.parametrize("kind", [sums.CRC32, sums.CRC32C])
def test_a_flipped_bit_shows(kind: int, rng: random.Random) -> None:
    data = bytearray(rng.randbytes(1200))
    whole = sums.checksum_of(bytes(data), kind, 1)
    for bit in rng.sample(range(8 * len(data)), 50):
        data[bit >> 3] ^= 1 << (bit & 7)
        assert sums.checksum_of(bytes(data), kind, 1) != whole
        data[bit >> 3] ^= 1 << (bit & 7)
