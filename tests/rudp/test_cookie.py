"""A cookie is good for whoever it was made for, for ten seconds, and for nothing else."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.machine import Address
from transport.rudp.cookie import COOKIE_BYTES, CookieJar

HERE: Address = ("192.0.2.1", 4000)
START = 12_345 * limits.SECOND_NS
GOOD_NS = limits.RUDP_COOKIE_NS
MS_NS = limits.MS_NS


@pytest.fixture
def jar(rng: random.Random) -> CookieJar:
    return CookieJar(rng.randbytes)


def test_there_and_back(jar: CookieJar) -> None:
    cookie = jar.make(HERE, 7, START)
    assert len(cookie) == COOKIE_BYTES == 19
    assert COOKIE_BYTES <= limits.RUDP_COOKIE_BYTES_MAX
    assert jar.check(cookie, HERE, 7, START)
    assert jar.make(HERE, 7, START) == cookie


@pytest.mark.parametrize(
    ("remote", "cid"),
    [(("192.0.2.1", 4001), 7), (("192.0.2.2", 4000), 7), (HERE, 8), (HERE, 0), ("192.0.2.1", 7), (None, 7)],
)
def test_it_is_good_for_nobody_else(jar: CookieJar, remote: Address | None, cid: int) -> None:
    cookie = jar.make(HERE, 7, START)
    assert not jar.check(cookie, remote, cid, START)
    assert jar.check(jar.make(remote, cid, START), remote, cid, START)


@pytest.mark.parametrize("begin", [0, 1, 4999, 5000, 9999])
def test_it_is_good_for_ten_seconds(jar: CookieJar, begin: int) -> None:
    """However old the key was when it was made."""
    jar.make(HERE, 1, START)
    made = START + begin * MS_NS
    cookie = jar.make(HERE, 7, made)
    assert GOOD_NS == 10 * limits.SECOND_NS
    assert jar.check(cookie, HERE, 7, made + GOOD_NS // 2)
    assert jar.check(cookie, HERE, 7, made + GOOD_NS)
    assert not jar.check(cookie, HERE, 7, made + GOOD_NS + 1)


def test_it_dies_with_its_key_however_the_jar_is_used(jar: CookieJar, rng: random.Random) -> None:
    """Keys change while others ask, and their numbers come round again."""
    now = START
    made: list[tuple[int, bytes]] = []
    for _ in range(3000):
        now += rng.choice((0, MS_NS, 700 * MS_NS, 3000 * MS_NS, 25_000 * MS_NS))
        made = [*made[-20:], (now, jar.make(HERE, 7, now))]
        then, cookie = rng.choice(made)
        assert jar.check(cookie, HERE, 7, now) == (now - then <= GOOD_NS)


def test_it_is_not_good_before_it_was_made(jar: CookieJar) -> None:
    cookie = jar.make(HERE, 7, START + 1000 * MS_NS)
    assert not jar.check(cookie, HERE, 7, START)


def test_no_bit_of_it_can_be_changed(jar: CookieJar) -> None:
    jar.make(HERE, 1, START)
    now = START + 3000 * MS_NS
    cookie = jar.make(HERE, 7, now)
    for bit in range(8 * len(cookie)):
        forged = bytearray(cookie)
        forged[bit >> 3] ^= 1 << (bit & 7)
        assert not jar.check(bytes(forged), HERE, 7, now)


@pytest.mark.parametrize("size", [0, 1, 3, 18, 20, 255])
def test_other_lengths(jar: CookieJar, size: int) -> None:
    cookie = jar.make(HERE, 7, START)
    assert not jar.check((cookie * 20)[:size], HERE, 7, START)


def test_a_jar_of_somebody_else(jar: CookieJar, rng: random.Random) -> None:
    other = CookieJar(rng.randbytes)
    assert not other.check(jar.make(HERE, 7, START), HERE, 7, START)


def test_the_clock_does_not_show(rng: random.Random) -> None:
    """The first cookie of a jar is the same whenever it is made."""
    seed = rng.getrandbits(32)
    made = {CookieJar(random.Random(seed).randbytes).make(HERE, 7, now) for now in (0, 1, START, 1 << 62)}
    assert len(made) == 1


def test_what_an_address_is(jar: CookieJar) -> None:
    """The scope of an IPv6 address counts, the flow label of a packet does not."""
    cookie = jar.make(("fe80::1", 80, 0, 2), 7, START)
    assert jar.check(cookie, ("fe80::1", 80, 99, 2), 7, START)
    assert not jar.check(cookie, ("fe80::1", 80, 0, 3), 7, START)
    assert not jar.check(cookie, ("fe80::1", 80), 7, START)
    assert jar.check(jar.make("/run/\udcff", 7, START), "/run/\udcff", 7, START)


def test_who_shares_the_secret_takes_it(rng: random.Random) -> None:
    """Workers of one port, and their successors, at whatever time each of them began."""
    secret = rng.randbytes(32)
    now = START
    for _ in range(300):
        now += rng.choice((MS_NS, 700 * MS_NS, 3000 * MS_NS, 25_000 * MS_NS))
        one, other = CookieJar(rng.randbytes, secret), CookieJar(rng.randbytes, secret)
        if rng.random() < 0.5:
            other.make(HERE, 1, now - rng.randrange(20 * limits.SECOND_NS))
        cookie = one.make(HERE, 7, now)
        for age, is_good in ((0, True), (GOOD_NS // 2, True), (GOOD_NS - MS_NS, True), (GOOD_NS + MS_NS, False)):
            assert other.check(cookie, HERE, 7, now + age) is is_good
            assert not other.check(cookie, HERE, 8, now + age)
        assert not CookieJar(rng.randbytes, rng.randbytes(32)).check(cookie, HERE, 7, now)
        assert not CookieJar(rng.randbytes).check(cookie, HERE, 7, now)


def test_a_shared_secret_tells_nobody_the_time(rng: random.Random) -> None:
    """The number of a key and its age differ from secret to secret at the same moment."""
    heads = {CookieJar(rng.randbytes, rng.randbytes(32)).make(HERE, 7, START)[:3] for _ in range(100)}
    assert len(heads) > 90
