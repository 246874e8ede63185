"""A checksum by its kind, for tools and tests; sessions cimport the C of `checksum` and don't come by here."""

from __future__ import annotations

from transport.rudp import checksum

NONE, CRC32, CRC32C = 1, 2, 4  # as in the parameter `checksums`


def checksum_of(data: bytes, kind: int, seed: int) -> int:
    """The checksum of all of `data`; 0 of a kind that is no checksum. `seed` has 32 bits."""
    if kind == CRC32C:
        return checksum.crc32c(data, 0, len(data), seed)
    if kind == CRC32:
        return checksum.crc32(data, 0, len(data), seed)
    return 0


def crc32c_without_cpu(data: bytes, seed: int) -> int:
    """CRC-32C as where the CPU has no instruction for it."""
    return checksum.crc32c_portable(data, 0, len(data), seed)
