"""What a log takes: the bounds on names, payloads and batches, checked once where a call comes in.

The same for every kind of log, so that a program that runs on one runs on the others. It must never change a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from transport import limits
from transport.log.errors import LogLimit
from transport.log.records import Append, Cause, History, Receipt, Session, Stream

NUMBER_MAX = (1 << 63) - 1  # of messages, generations, offsets, times
SPAN_MS_MAX = (1 << 62) - 1  # of milliseconds that are added to a time


def bounded(what: str, size: int, limit: int) -> None:
    """Raises LogLimit where `size` is over `limit`."""
    if size > limit:
        raise LogLimit(what, size, limit)


def name(what: str, text: str, *, empty: bool = False) -> None:
    """A namespace, a room, an id, a key: printable, so that lists for people and skip lists can hold it.

    Raises:
        LogLimit: it is too long.
        ValueError: it is empty, or has characters that can't be printed.
        TypeError: it is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
    if not text and not empty:
        raise ValueError(f"{what} is empty")
    if not text.isprintable():
        raise ValueError(f"{what} {text!r} has characters that can't be printed")
    bounded(what, len(text) if text.isascii() else len(text.encode()), limits.LOG_NAME_BYTES_MAX)


def number(what: str, value: int, least: int = 0, most: int = NUMBER_MAX) -> None:
    """A count or an offset. Raises ValueError."""
    if not least <= value <= most:
        raise ValueError(f"{what} {value} is not from {least} to {most}")


def stream(value: Stream) -> None:
    """A stream's name. A private one needs the id of its session."""
    name("namespace", value.namespace)
    name("room", value.room, empty=not value.private)


def cost(append: Append) -> int:
    """Bytes that an event counts, wherever bytes are counted."""
    size = len(append.payload) + limits.LOG_EVENT_COST_BYTES
    return size + sum(map(len, append.skip)) if append.skip else size


def batch(appends: Sequence[Append], receipt: Receipt | None) -> int:
    """Checks a commit; returns what its events and its reply cost in bytes."""
    bounded("events of one commit", len(appends), limits.LOG_BATCH_EVENTS_MAX)
    total = 0
    checked = None
    for append in appends:
        if append.stream is not checked:
            checked = append.stream
            stream(checked)
        if not isinstance(append.payload, bytes):
            raise TypeError(f"a payload must be bytes, not {type(append.payload).__name__}")
        bounded("payload", len(append.payload), limits.LOG_PAYLOAD_BYTES_MAX)
        if append.skip:
            bounded("skip list", len(append.skip), limits.LOG_SKIP_MAX)
            for who in append.skip:
                name("session in a skip list", who)
        if append.key is not None:
            name("key", append.key)
        if append.cause is not None:
            caused(append.cause)
        total += cost(append)
    if receipt is not None:
        caused(receipt)
        number("confirmed", receipt.confirmed)
        if receipt.reply is not None:
            bounded("reply", len(receipt.reply), limits.LOG_REPLY_BYTES_MAX)
            total += len(receipt.reply)
    bounded("bytes of one commit", total, limits.LOG_BATCH_BYTES_MAX)
    return total


def caused(value: Cause | Receipt) -> None:
    """The parts that a cause and a receipt share."""
    name("session", value.session)
    number("generation", value.generation)
    number("number", value.number, 1)
    if isinstance(value, Cause):
        number("step", value.step)


def session(value: Session) -> None:
    """A session that is written whole."""
    name("session", value.id)
    number("generation", value.generation)
    number("expires_ms", value.expires_ms)
    bounded("proof", len(value.proof), limits.LOG_PROOF_BYTES_MAX)
    bounded("identity", len(value.identity), limits.LOG_SESSION_BYTES_MAX)
    bounded("streams of one session", len(value.streams), limits.LOG_SESSION_STREAMS_MAX)
    for joined, at in value.streams.items():
        stream(joined)
        number("offset", at.offset)


def history(value: History) -> History:
    """Bounds of a stream; 0 events or 0 bytes keep nothing. Raises ValueError."""
    for what, bound, most in (
        ("count", value.count, NUMBER_MAX), ("age_ms", value.age_ms, SPAN_MS_MAX), ("bytes", value.bytes, NUMBER_MAX),
    ):  # fmt: skip
        if bound is not None:
            number(what, bound, most=most)
    return value


def page(count: int | None, size: int | None) -> tuple[int, int]:
    """The bounds of one read: at least one event, at most what the limits say."""
    events = limits.LOG_PAGE_EVENTS_MAX if count is None else max(1, min(count, limits.LOG_PAGE_EVENTS_MAX))
    return events, limits.LOG_PAGE_BYTES_MAX if size is None else max(0, min(size, limits.LOG_PAGE_BYTES_MAX))


def update(
    who: str, join: Sequence[tuple[Stream, int]], leave: Sequence[Stream], identity: bytes | None,
    expires_ms: int | None,
) -> None:  # fmt: skip
    """What changes in a session."""
    name("session", who)
    bounded("streams of one session", len(join), limits.LOG_SESSION_STREAMS_MAX)
    for joined, offset in join:
        stream(joined)
        number("offset", offset)
    for left in leave:
        stream(left)
    if identity is not None:
        bounded("identity", len(identity), limits.LOG_SESSION_BYTES_MAX)
    if expires_ms is not None:
        number("expires_ms", expires_ms)
