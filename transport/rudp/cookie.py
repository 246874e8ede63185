"""Cookies by which a client shows that it gets what is sent to its address, before the server remembers anything.

A cookie is a keyed hash of who asked and when, so that a flood of forged HELLOs costs hashes and no memory. It must
never tell anything of the server's clock, nor be good for another address, port or connection id than it was made for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from transport import limits
from transport.machine import Address

_GOOD_NS = limits.RUDP_COOKIE_NS
_MS_NS = limits.MS_NS
_HASH_BYTES = 16
_PERSON = b"rudpcook"  # the key has no other use; if it ever gets one, the hashes stay apart
COOKIE_BYTES = 3 + _HASH_BYTES  # number of the key, age of the key in milliseconds (2), hash


class _Key:
    """A secret and when it was drawn (ns)."""

    __slots__ = ("number", "secret", "since")

    def __init__(self, number: int, secret: bytes, since: int) -> None:
        self.number = number
        self.secret = secret
        self.since = since


def _who(remote: Address | None) -> bytes:
    """An address as bytes, different for different ones; without IPv6's flow label, which belongs to a packet."""
    if isinstance(remote, tuple) and len(remote) == 4:
        remote = (remote[0], remote[1], remote[3])
    return repr(remote).encode("utf-8", "surrogatepass")


def _derived(secret: bytes, what: bytes) -> bytes:
    return hashlib.blake2s(what, key=secret[:32], person=b"cookkeys").digest()


class CookieJar:
    """Makes and checks cookies. Two keys are known at a time, and each is used for as long as a cookie is good.

    Args:
        entropy: `entropy(n)` gives n unpredictable bytes.
        secret: who has the same, and the same clock, takes the cookies of this one; b"" for nobody.
    """

    def __init__(self, entropy: Callable[[int], bytes], secret: bytes = b"") -> None:
        self._entropy = entropy
        self._secret = secret
        self._lead = int.from_bytes(_derived(secret, b"lead")[:8], "big") if secret else 0
        self._current: _Key | None = None
        self._before: _Key | None = None

    def make(self, remote: Address | None, cid: int, now: int) -> bytes:
        """A cookie for the client at `remote` whose connection id is `cid`, good for 10 s from `now` (ns)."""
        key = self._key(now)
        head = bytes([key.number]) + ((now - key.since) // _MS_NS).to_bytes(2, "big")
        return head + self._hash(key, head, remote, cid)

    def check(self, cookie: bytes, remote: Address | None, cid: int, now: int) -> bool:
        """Whether `make` gave out `cookie` for the same client within the last 10 s."""
        if len(cookie) != COOKIE_BYTES:
            return False
        self._key(now)
        for key in (self._current, self._before):
            if key is not None and key.number == cookie[0]:
                age = now - key.since - int.from_bytes(cookie[1:3], "big") * _MS_NS
                if not 0 <= age <= _GOOD_NS:
                    return False
                return hmac.compare_digest(cookie[3:], self._hash(key, cookie[:3], remote, cid))
        return False

    def _key(self, now: int) -> _Key:
        """The key to make cookies with; a new one where that is used up."""
        key = self._current
        if key is not None and now < key.since + _GOOD_NS:
            return key
        if self._secret:
            count = (now + self._lead) // _GOOD_NS
            self._before = self._shared_key(count - 1)
            self._current = self._shared_key(count)
            return self._current
        self._before = key if key is not None and now < key.since + 2 * _GOOD_NS else None
        self._current = _Key(0 if key is None else (key.number + 1) & 0xFF, self._entropy(32), now)
        return self._current

    def _shared_key(self, count: int) -> _Key:
        """The key number `count` of all who have the secret; when it begins, tells nobody else the time."""
        return _Key(count & 0xFF, _derived(self._secret, b"%d" % count), count * _GOOD_NS - self._lead)

    @staticmethod
    def _hash(key: _Key, head: bytes, remote: Address | None, cid: int) -> bytes:
        said = head + cid.to_bytes(8, "big") + _who(remote)
        return hashlib.blake2s(said, key=key.secret, digest_size=_HASH_BYTES, person=_PERSON).digest()
