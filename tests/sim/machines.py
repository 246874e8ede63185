"""Small machines of both dialects for the tests of what runs machines."""

from __future__ import annotations

from transport.machine import EOF, Path, Transmit

ECHO_EOF = b"."
MS = 1_000_000


class Bytes:
    """A byte machine that sends what it is told, and keeps what it gets."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.got: list[bytes] = []
        self.times: list[int] = []
        self.at: int | None = None
        self.happened: list[object] = []

    def send(self, *data: bytes) -> None:
        self.out += data

    def receive(self, data: bytes, now: int) -> None:
        self.got.append(data)
        self.times.append(now)
        self.happened.append(("eof" if not data else len(data), now))

    def transmit(self, now: int) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def events(self) -> list[object]:
        happened, self.happened = self.happened, []
        return happened

    def deadline(self) -> int | None:
        return self.at

    def expire(self, now: int) -> None:
        self.at = None


class Echo(Bytes):
    """Sends back what it gets, and EOF after EOF."""

    def receive(self, data: bytes, now: int) -> None:
        super().receive(data, now)
        self.out.append(data or EOF)


class Datagrams:
    """A datagram machine that sends what it is told to its peer, and keeps what it gets."""

    def __init__(self) -> None:
        self.out: list[tuple[bytes, int, Path, int]] = []
        self.got: list[tuple[bytes, Path, int, int]] = []
        self.at: int | None = None
        self.happened: list[object] = []

    def send(self, data: bytes, segment: int | None = None, path: Path | None = None, ecn: int = 0) -> None:
        self.out.append((data, len(data) if segment is None else segment, path or Path(None, None), ecn))

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.got.append((data, path, ecn, now))
        self.happened.append((len(data), now))

    def error(self, path: Path, errno: int, now: int) -> None:
        self.happened.append(errno)

    def transmit(self, room: memoryview, now: int) -> Transmit | None:
        if not self.out:
            return None
        data, segment, path, ecn = self.out.pop(0)
        room[: len(data)] = data
        return Transmit(len(data), segment, path, ecn)

    def events(self) -> list[object]:
        happened, self.happened = self.happened, []
        return happened

    def deadline(self) -> int | None:
        return self.at

    def expire(self, now: int) -> None:
        self.at = None


class Retrier(Datagrams):
    """Sends each number again, every 100 ms, until it is acknowledged: the smallest reliable protocol."""

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.missing = dict.fromkeys(range(count), 0)
        self.seen: dict[int, int] = {}
        self.at = 1 if count else None

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        kind, number = data[:1], int(data[1:] or b"0")
        if kind == b"A":
            if self.missing.pop(number, None) is not None and not self.missing:
                self.at = None
                self.happened.append("done")
        elif kind == b"D":
            self.seen[number] = self.seen.get(number, 0) + 1
            self.send(b"A%d" % number, path=path)

    def expire(self, now: int) -> None:
        for number in self.missing:
            self.send(b"D%d" % number)
        self.at = now + 100 * MS
