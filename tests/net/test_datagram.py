"""Datagram sockets, the native and the portable one alike: bytes, paths, marks, offload, bounds."""

from __future__ import annotations

import errno
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.net.sockets import (
    FAMILIES,
    KINDS,
    Keep,
    address,
    batch,
    bound,
    connected,
    dead_address,
    fail_sends,
    name,
    send,
    take,
    wait_errors,
)  # fmt: skip
from transport import limits
from transport.machine import Path
from transport.net import datagram as net
from transport.net.datagram_base import DatagramSocket, Outgoing
from transport.net.datagram_options import LINUX, DatagramOptions

Make = Callable[..., DatagramSocket]
linux = pytest.mark.skipif(not LINUX, reason="an option that only Linux has")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def keep() -> Keep:
    return Keep()


@pytest.fixture
def opened(kind: str) -> Iterator[Callable[[DatagramSocket], DatagramSocket]]:
    """Closes what a test opened."""
    held: list[DatagramSocket] = []

    def hold(sock: DatagramSocket) -> DatagramSocket:
        held.append(sock)
        return sock

    yield hold
    for sock in held:
        sock.close()
    if net.NativeDatagramSocket is not None:
        from transport.net import _native

        _native.fail_sends([])


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, kind: str, opened: Any) -> tuple[DatagramSocket, DatagramSocket]:
    """A bound socket and one connected to it, with marks."""
    server = opened(bound(kind, request.param, ecn=True))
    return server, opened(connected(kind, server, ecn=True))


def test_payloads_cross_whole_and_in_order(pair: Any, keep: Keep) -> None:
    server, client = pair
    payloads = [b"a", b"", b"bb" * 700, b"c", b"x" * 65_000, b"", b"y" * 65_507]
    for payload in payloads:
        send(client, payload)
    assert take(server, keep, len(payloads)) == payloads
    assert {call[1] for call in keep.calls} == {Path(name(server), name(client))}


def test_answers_by_the_path_that_a_datagram_came_by(pair: Any, keep: Keep) -> None:
    server, client = pair
    send(client, b"question")
    take(server, keep)
    send(server, b"answer", path=keep.calls[0][1])
    other = Keep()
    assert take(client, other) == [b"answer"]
    assert other.calls[0][1] is client.path


def test_one_batch_holds_trains_singles_and_empty_datagrams(pair: Any, keep: Keep) -> None:
    server, client = pair
    train = b"".join(bytes([65 + number]) * 100 for number in range(10)) + b"z" * 40
    whole = batch((train, 100, None, 2), (b"", 0, None, 1), (b"single", 6, None, 3), (b"q" * 50, 25, None, 0))
    assert client.send(whole)
    assert whole.first == whole.count == 4
    got = take(server, keep, 15)
    assert got == [train[i : i + 100] for i in range(0, 1040, 100)] + [b"", b"single", b"q" * 25, b"q" * 25]
    if LINUX:
        assert [(len(call[0]), call[2]) for call in keep.calls] == [(11, 2), (1, 1), (1, 3), (2, 0)]


def test_runs_of_one_path_come_as_one_call(kind: str, opened: Any) -> None:
    server = opened(bound(kind))
    clients = [opened(connected(kind, server)) for _ in range(2)]
    probe = Keep()
    for client, count in ((0, 20), (1, 20), (0, 4)):
        send(clients[client], *[b"%d" % client] * count)
    take(server, probe, 44)
    assert probe.payloads == [b"0"] * 20 + [b"1"] * 20 + [b"0"] * 4
    assert len(probe.calls) < 20  # single reads first, then batches
    assert {call[1].remote for call in probe.calls} == {name(client) for client in clients}


def test_reading_adapts_to_what_comes(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    for number in range(40):  # one by one: no more than one is asked for, and nothing is promised
        send(client, b"%d" % number)
        assert take(server, keep) == [b"%d" % number]
        assert not server.more
    send(client, *[b"x"] * 600)
    reads = 0
    while len(keep.payloads) < 640:
        assert server.receive(keep, 0) > 0
        reads += 1
    assert reads < 100
    assert server.receive(keep, 0) == 0
    assert not server.more


@linux
def test_receive_offload_begins_with_the_first_burst(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    train = b"t" * 6400
    assert client.send(batch((train, 100, None, 0)))
    assert take(server, keep, 64) == [b"t" * 100] * 64  # cut by the kernel
    for _ in range(3):
        assert client.send(batch((train, 100, None, 0)))
    assert take(server, keep, 192) == [b"t" * 100] * 192
    assert server.sock.getsockopt(17, 104) == 1
    quiet = opened(connected(kind, server))
    assert quiet.sock.getsockopt(17, 104) == 0


def test_a_tick_s_worth_is_bounded(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind, rcvbuf=4 * limits.MIB))
    client = opened(connected(kind, server))
    for _ in range(12):
        assert client.send(batch((b"m" * 60_000, 30_000, None, 0)))
    while len(keep.payloads) < 24:
        before = len(keep.payloads)
        assert server.receive(keep, 0) > 0
        assert sum(map(len, keep.payloads[before:])) == server.received_bytes
        assert server.received_bytes <= limits.RECEIVE_BEFORE_TRANSMIT_BYTES + 2 * 65_536


@pytest.mark.parametrize("room", [0, 65_537])
def test_a_room_holds_a_datagram_at_most(kind: str, room: int) -> None:
    cls: Any = net.PortableDatagramSocket if kind == "portable" else net.NativeDatagramSocket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="room"):
        cls(sock, room=room)


@pytest.mark.parametrize("controls", [False, True])
def test_what_does_not_fit_the_room_is_dropped_and_counted(kind: str, opened: Any, keep: Keep, controls: bool) -> None:
    cls: Any = net.PortableDatagramSocket if kind == "portable" else net.NativeDatagramSocket
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind(("127.0.0.1", 0))
    raw.setblocking(False)
    server = opened(cls(raw, None, raw.getsockname(), room=100, stamps=controls))
    client = opened(connected(kind, server))
    for payload in (b"a" * 100, b"b" * 101, b"c" * 5000, b"d"):
        send(client, payload)
    assert take(server, keep, 2) == [b"a" * 100, b"d"]
    assert server.truncated == 2


# Paths


@linux
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_wildcard_answers_from_the_address_that_was_asked(kind: str, opened: Any, keep: Keep, wildcard: str) -> None:
    server = opened(bound(kind, wildcard))
    port = name(server)[1]
    assert server.local is None
    for host in ("127.0.0.1", "127.0.0.2") if wildcard == "0.0.0.0" else ("::1",):
        client = opened(connected(kind, address(host, port)))
        send(client, b"to " + host.encode())
        assert take(server, keep) == [b"to " + host.encode()]
        path = keep.calls[-1][1]
        assert path.local == address(host, port)
        send(server, b"from", path=path)
        assert take(client, Keep()) == [b"from"]  # a connected socket takes nothing from another address
        send(server, b"again", path=Path(path.local, path.remote))  # a path made by hand does as well
        assert take(client, Keep()) == [b"again"]


@linux
def test_a_dual_socket_serves_both_families(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind, "::", ipv6_only=False, ecn=True))
    port = name(server)[1]
    client = opened(connected(kind, address("127.0.0.1", port), ecn=True))
    assert client.send(batch((b"v4", 2, None, 2)))
    assert take(server, keep) == [b"v4"]
    payloads, path, ecn, _ = keep.calls[0]
    assert (payloads, ecn) == ([b"v4"], 2)
    assert path.remote == ("::ffff:127.0.0.1", name(client)[1], 0, 0)
    assert path.local == ("::ffff:127.0.0.1", port, 0, 0)
    send(server, b"back", path=path)
    assert take(client, Keep()) == [b"back"]


def test_one_path_object_for_each_pair_of_addresses(kind: str, opened: Any) -> None:
    server = opened(bound(kind))
    clients = [opened(connected(kind, server)) for _ in range(3)]
    seen: dict[Any, Path] = {}
    for _ in range(3):
        for client in clients:
            keep = Keep()
            send(client, b"x")
            take(server, keep)
            path = keep.calls[0][1]
            assert seen.setdefault(name(client), path) is path
    assert len(seen) == 3


def test_the_path_cache_is_bounded(kind: str, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "native":  # its bound is compiled in: one more than that many peers, from as many addresses and ports
        server = opened(bound(kind, "0.0.0.0"))
        port = name(server)[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.bind(("127.0.0.1", 0))
            mine = source.getsockname()
            paths = []
            for number in range(limits.PATHS_CACHED_MAX + 1):
                source.sendto(b"x", (f"127.1.{number >> 8}.{number & 255}", port))
                keep = Keep()
                take(server, keep)
                paths.append(keep.calls[0][1])
            assert {path.remote for path in paths} == {mine}
            assert len({path.local for path in paths}) == limits.PATHS_CACHED_MAX + 1
            for number, same in ((limits.PATHS_CACHED_MAX, True), (0, False)):
                source.sendto(b"x", (f"127.1.{number >> 8}.{number & 255}", port))
                keep = Keep()
                take(server, keep)
                assert keep.calls[0][1] == paths[number]
                assert (keep.calls[0][1] is paths[number]) is same
        return
    monkeypatch.setattr(limits, "PATHS_CACHED_MAX", 2)
    server = opened(bound(kind))
    clients = [opened(connected(kind, server)) for _ in range(3)]
    keep = Keep()
    for client in (*clients, clients[0], clients[2]):
        send(client, b"x")
        take(server, keep)
    first, second, third, again, last = [call[1] for call in keep.calls]
    assert first == again
    assert first is not again
    assert third is last
    assert second not in (first, third)
    assert len(server._paths) == len(server._latest) == 2


@pytest.mark.parametrize("path", [
    Path(None, ("::1", 9, 0, 0)), Path(None, ("no address", 9)), Path(None, ("127.0.0.1", 70_000)),
    Path(None, ("127.0.0.1", "http")), Path(None, "/a/path"), Path(None, None),
    Path(("::1", 9, 0, 0), ("127.0.0.1", 9)),
])  # fmt: skip
def test_a_path_that_is_none_of_this_socket_s_is_reported(kind: str, opened: Any, path: Path) -> None:
    sender, receiver = opened(bound(kind)), opened(bound(kind))
    good = Path(None, name(receiver))
    for _ in range(2):
        assert sender.send(batch((b"a", 1, good, 0), (b"lost", 4, path, 0), (b"b", 1, good, 0)))
    assert take(receiver, Keep(), 4) == [b"a", b"b", b"a", b"b"]
    assert sender.errors == [(path, errno.EAFNOSUPPORT)] * 2
    assert sender.unsent == 2
    assert sender.disturbed


@pytest.mark.parametrize(("size", "segment", "offset"), [
    (-1, 1, 0), (5, 1, 0), (4, 0, 0), (4, -1, 0), (1, 1, 4), (1, 1, -1), (2**62, 1, 2**62),
])  # fmt: skip
def test_entries_outside_their_room_are_a_mistake(kind: str, opened: Any, size: int, segment: int, offset: int) -> None:
    sender = opened(bound(kind))
    wrong = batch((b"abcd", 4, Path(None, name(sender)), 0))
    entry = wrong.entries[0]
    entry.size, entry.segment_bytes, entry.offset = size, segment, offset
    with pytest.raises(ValueError, match="batch entry"):
        sender.send(wrong)


# Sending when something is wrong


def items(count: int, sock: DatagramSocket) -> Outgoing:
    return batch(*[(b"%02d" % number, 2, sock.path, 0) for number in range(count)])


@pytest.mark.parametrize("code", [errno.EAGAIN])
def test_a_full_kernel_keeps_the_rest_of_the_batch(kind: str, opened: Any, code: int) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    whole = batch((b"00", 2, None, 0), (b"x" * 25, 10, None, 0), (b"02", 2, None, 0))
    fail_sends(client, [code])
    assert not client.send(whole)
    assert whole.first == 0
    fail_sends(client, [])
    rest = whole.rest()
    assert (rest.first, rest.count, bytes(rest.room)) == (0, 3, b"00" + b"x" * 25 + b"02")
    assert client.send(rest)
    assert take(server, Keep(), 5) == [b"00", b"x" * 10, b"x" * 10, b"x" * 5, b"02"]
    assert client.errors == []


def test_a_train_cut_by_hand_goes_on_where_it_stopped(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server, offload=False))
    assert client.segment_max == 0
    train = bytes(range(250)) * 10
    whole = batch((train, 20, None, 0))
    per_call = 1 if kind == "portable" else limits.DATAGRAMS_PER_CALL
    fail_sends(client, [0, errno.EAGAIN])
    assert not client.send(whole)
    entry = whole.entries[0]
    assert (entry.offset, entry.size) == (20 * per_call, 2500 - 20 * per_call)
    assert client.send(whole)
    assert b"".join(take(server, keep, 125)) == train


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.EMSGSIZE, errno.EPERM, errno.EADDRNOTAVAIL])
def test_a_datagram_that_can_t_be_sent_is_dropped_and_reported(kind: str, opened: Any, code: int) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    fail_sends(client, [code] * (2 if code == errno.EMSGSIZE else 1))  # once, it may be about an earlier one
    assert client.send(items(4, client))
    assert client.errors == [(client.path, code)]
    assert client.unsent == 1
    assert client.disturbed
    assert take(server, Keep(), 3) == [b"01", b"02", b"03"]


def test_too_large_for_a_datagram_is_reported_by_the_kernel(kind: str, opened: Any) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    assert client.send(batch((b"a", 1, None, 0), (b"x" * 65_508, 65_508, None, 0), (b"b", 1, None, 0)))
    assert client.errors == [(client.path, errno.EMSGSIZE)]
    assert take(server, Keep(), 2) == [b"a", b"b"]


@linux
@pytest.mark.parametrize(("code", "segment", "left"), [
    (errno.EIO, 1200, 0), (errno.EINVAL, 1200, 1199), (errno.EMSGSIZE, 9000, 8999), (errno.EINVAL, 500, 0),
])  # fmt: skip
def test_refused_offload_is_cut_by_hand_and_lowers_the_limit(
    kind: str, opened: Any, keep: Keep, code: int, segment: int, left: int
) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    assert client.segment_max == limits.GSO_BYTES_MAX
    train = b"t" * (3 * segment + 7)
    wanted = [b"t" * segment] * 3 + [b"t" * 7]
    fail_sends(client, [code])
    assert client.send(batch((train, segment, None, 0), (b"after", 5, None, 0)))
    assert take(server, keep, 5) == [*wanted, b"after"]
    assert client.segment_max == left
    assert client.errors == []
    assert client.send(batch((train, segment, None, 0)))
    assert take(server, keep, 4) == wanted


@linux
def test_a_bad_train_costs_itself_and_not_the_offload(kind: str, opened: Any) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    fail_sends(client, [errno.EINVAL, errno.EINVAL])
    assert client.send(batch((b"t" * 500, 100, None, 0)))
    assert client.errors == [(client.path, errno.EINVAL)]
    assert client.segment_max == limits.GSO_BYTES_MAX
    assert server.receive(Keep(), 0) == 0


@linux
def test_segments_that_the_device_can_t_carry_are_cut_by_hand(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    client.sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: the kernel keeps to the MTU
    train = b"t" * 64_000
    assert client.send(batch((train, 32_000, None, 0)))
    assert take(server, keep, 2) == [b"t" * 32_000] * 2


@pytest.mark.parametrize("trains", [(65_000, 1000), (64_000, 500), (66_000, 66), (65_536, 512)])
def test_trains_beyond_what_the_kernel_cuts_go_by_hand(pair: Any, keep: Keep, trains: tuple[int, int]) -> None:
    server, client = pair
    size, segment = trains
    train = random.Random(size).randbytes(size)
    assert client.send(batch((train, segment, None, 0)))
    count = -(-size // segment)
    assert b"".join(take(server, keep, count)) == train
    assert client.errors == []


def test_more_entries_than_one_call_takes(pair: Any, keep: Keep) -> None:
    server, client = pair
    assert client.send(items(100, client))
    assert take(server, keep, 100) == [b"%02d" % number for number in range(100)]


def test_an_unusable_descriptor_is_an_error(kind: str, opened: Any) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    fail_sends(client, [errno.EBADF])
    with pytest.raises(OSError, match="gone"):
        client.send(items(1, client))


def test_a_closed_socket_takes_everything_and_gives_nothing(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    client = opened(connected(kind, server))
    client.close()
    client.close()
    whole = items(3, client)
    assert client.send(whole)
    assert whole.first == 3
    assert client.receive(keep, 0) == 0
    assert client.fileno() == -1
    assert server.receive(keep, 0) == 0


# ICMP


def test_a_refused_peer_is_reported_to_a_connected_socket(kind: str, opened: Any, keep: Keep) -> None:
    client = opened(connected(kind, dead_address()))
    send(client, b"anybody?")
    assert wait_errors(client) == [(client.path, errno.ECONNREFUSED)]
    assert client.disturbed
    assert client.receive(keep, 0) == 0  # and the socket lives
    send(client, b"still here")


@linux
@pytest.mark.parametrize("host", FAMILIES)
def test_an_unconnected_socket_learns_which_peer_refused(kind: str, opened: Any, host: str) -> None:
    sender, good = opened(bound(kind, host)), opened(bound(kind, host))
    dead = [Path(name(sender), dead_address(host)) for _ in range(2)]
    alive = Path(name(sender), name(good))
    for path in dead:
        send(sender, b"anybody?", path=path)
    wait_errors(sender, 2)
    assert sorted(sender.errors, key=repr) == sorted([(path, errno.ECONNREFUSED) for path in dead], key=repr)
    send(sender, b"hello", path=alive)
    assert take(good, Keep()) == [b"hello"]


@linux
def test_a_refusal_met_while_sending_costs_no_datagram(kind: str, opened: Any) -> None:
    sender, good = opened(bound(kind)), opened(bound(kind))
    dead, alive = Path(name(sender), dead_address()), Path(name(sender), name(good))
    send(sender, b"anybody?", path=dead)
    send(sender, b"first", path=alive)  # the refusal is on the socket by now
    assert take(good, Keep()) == [b"first"]
    assert sender.errors == [(dead, errno.ECONNREFUSED)]
    assert sender.unsent == 0


@linux
def test_a_known_peer_s_error_has_its_path(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind, "0.0.0.0"))
    client = opened(connected(kind, address("127.0.0.1", name(server)[1])))
    send(client, b"hello")
    take(server, keep)
    path = keep.calls[0][1]
    client.close()
    send(server, b"too late", path=path)
    assert wait_errors(server)[0][0] is path


@linux
def test_a_lasting_error_is_reported_for_its_own_datagram(kind: str, opened: Any) -> None:
    sender, good = opened(bound(kind)), opened(bound(kind))
    path = Path(None, name(good))
    fail_sends(sender, [errno.EHOSTUNREACH, errno.EHOSTUNREACH])
    assert sender.send(batch((b"lost", 4, path, 0), (b"kept", 4, path, 0)))
    assert sender.errors == [(path, errno.EHOSTUNREACH)]
    assert take(good, Keep()) == [b"kept"]


@linux
def test_a_flood_of_errors_is_taken_in_portions(kind: str, opened: Any, keep: Keep) -> None:
    sender = opened(bound(kind))
    dead = dead_address()
    for _ in range(3 * limits.SOCKET_ERRORS_PER_CALL):
        try:
            sender.sock.sendto(b"x", dead)
        except ConnectionRefusedError:
            continue
    sender.receive(keep, 0)
    assert 0 < len(sender.errors) <= 2 * limits.SOCKET_ERRORS_PER_CALL
    before = 0
    while len(sender.errors) > before:
        before = len(sender.errors)
        sender.receive(keep, 0)
    assert {code for _, code in sender.errors} == {errno.ECONNREFUSED}
    poll = select.poll()
    poll.register(sender.fileno(), select.POLLERR)
    assert poll.poll(0) == []  # nothing is left that would wake a loop for ever


# Timestamps


@linux
def test_kernel_timestamps(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind, timestamps=True))
    client = opened(connected(kind, server))
    before = time.time_ns()
    send(client, b"one")
    take(server, keep)
    send(client, b"two")
    take(server, keep)
    stamps = [call[3] for call in keep.calls]
    assert before - limits.SECOND_NS < stamps[0] < stamps[1] < time.time_ns() + limits.SECOND_NS
    assert client.receive(keep, 0) == 0


# What random peers do


def test_random_batches_arrive_byte_for_byte(pair: Any, rng: random.Random) -> None:
    server, client = pair
    sent: list[bytes] = []
    keep = Keep()
    for _ in range(60):
        entries = []
        for _ in range(rng.randrange(1, 20)):
            segment = rng.choice([1, 7, 64, 300, 1200, 9000])
            count = rng.choice([1, 1, 2, 5, 30])
            data = rng.randbytes(min(segment * count - rng.randrange(segment), 65_000))
            entries.append((data, segment, None, rng.randrange(4)))
            sent += [data[i : i + segment] for i in range(0, len(data), segment)] or [b""]
        assert client.send(batch(*entries))
        take(server, keep, len(sent) - len(keep.payloads))
    assert keep.payloads == sent


def test_options_are_no_business_of_other_sockets() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, pytest.raises(OSError, match="UDP"):
        net.adopt(stream, DatagramOptions())
    with pytest.raises(ValueError, match="address"):
        net.make_socket(None, None, DatagramOptions())


def test_adopted_sockets_are_known_for_what_they_are(kind: str, opened: Any, keep: Keep) -> None:
    server = opened(bound(kind))
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.connect(name(server))
    client = opened(net.adopt(raw, DatagramOptions(), native=kind == "native")[0])
    assert client.path == Path(raw.getsockname(), name(server))
    assert not raw.getblocking()
    loose = opened(net.adopt(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), DatagramOptions(),
                             native=kind == "native")[0])  # fmt: skip
    assert loose.path is None
    assert name(loose)[1] != 0
    send(loose, b"hello", path=Path(None, name(server)))
    assert take(server, keep) == [b"hello"]


def test_one_datagram_goes_alone_or_is_left_to_the_batch(pair: Any, keep: Keep, kind: str) -> None:
    server, client = pair
    alone = kind == "native"
    assert client.send_single(b"question", client.path) == alone
    send(client, b"again")
    wanted = [b"question", b"again"] if alone else [b"again"]
    assert take(server, keep, len(wanted)) == wanted
    path = keep.calls[0][1]
    assert server.send_single(b"answer", path) == alone
    assert not server.send_single(b"x", Path(None, ("not an address", 1)))
    fail_sends(server, [1])
    assert not server.send_single(b"y", path)
    fail_sends(server, [])
    assert take(client, keep) == [b"answer"] if alone else True
