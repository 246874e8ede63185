"""What a connection asks of any session that carries messages, whatever the wire below it looks like.

A message session is a machine (see `transport.machine`) with commands beside the five verbs. Messages leave it as
batches, one list of payloads a channel, because an object per message costs more than everything else it does.
It must never touch a codec: payloads are bytes both ways.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from transport.errors import UnsupportedOperation


class SessionState(IntEnum):
    """Where a session is in its life. It only ever moves forward."""

    OPENING = 0  # the peer has not answered
    OPEN = 1
    CLOSING = 2  # one side said goodbye; queued data still leaves
    CLOSED = 3


class Batch:
    """Consecutive payloads of one channel and delivery, as they came. `size` counts their bytes."""

    __slots__ = ("channel", "delivery", "payloads", "size")

    def __init__(self, channel: int, delivery: int, payloads: list[bytes], size: int) -> None:
        self.channel = channel
        self.delivery = delivery
        self.payloads = payloads
        self.size = size


class MessageSession:
    """Base of the sessions a `Connection` can stand on; operations that a wire lacks stay as they are here.

    Attributes:
        state: a `SessionState` value.
        queued_bytes: accepted by `send` and not yet handed out by `transmit` (for a reliability layer: not yet acked).
        flight_bytes: those of `queued_bytes` that a reliability layer has sent, up to a bound. The network has them, as
            a kernel has what was written to it, so they take no room from what may wait. 0 for all others.
        sent_total: bytes ever accepted by `send`, so that `sent_total - queued_bytes` says how far it has come.
        send_max: largest payload that `send` takes, already the smaller of both sides' limits.
        blocked_bytes: accepted by `send` and waiting for the peer's credit; not part of `queued_bytes`.
        overtaking: since the queue was last empty something in it could leave in another order than it came.
        cut_bytes: accepted by `send`, and dropped because the session ended.
        uses_credit: the peer stops by itself when messages are not consumed; otherwise reading must stop.
        batches: received messages since the last `take`.
        lone: in place of the first batch, where only one message has come since: most of all requests and answers.
        lone_channel, lone_delivery: its own.
        is_awaited: somebody waits for queued bytes to leave; else a driver may save itself the owner's `flushed`.
    """

    def __init__(self) -> None:
        self.state = 0
        self.queued_bytes = 0
        self.flight_bytes = 0
        self.blocked_bytes = 0
        self.sent_total = 0
        self.overtaking = False
        self.cut_bytes = 0
        self.send_max = 0
        self.uses_credit = False
        self.batches: list[Batch] = []
        self.lone: bytes | None = None
        self.lone_channel = 0
        self.lone_delivery = 0
        self.is_awaited = True

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one message. `expires_at` is a time in ns, or 0 for never. The caller has checked every argument."""
        raise NotImplementedError

    def send_copies(
        self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, copies: int, now: int
    ) -> None:
        """`send` with a wish for redundant copies, where the wire has any."""
        self.send(payload, channel, delivery, priority, expires_at, now)

    def fence(self) -> Any:
        """An object whose `pending` is 0 when everything sent so far is settled; None where `queued_bytes` tells."""
        return None

    def take(self) -> list[Batch]:
        """Received messages since the last call, in order."""
        if self.lone is not None:
            self.join_lone()
        batches = self.batches
        self.batches = []
        return batches

    def has_received(self) -> bool:
        """Whether `take` would give anything."""
        return self.lone is not None or len(self.batches) > 0

    def drop_received(self) -> None:
        """Forgets what was received and not taken."""
        self.batches = []
        self.lone = None

    def join_lone(self) -> Batch:
        """`lone` is no longer alone: makes a batch of it, the only one, and returns that."""
        payload = self.lone
        assert payload is not None
        self.lone = None
        batch = Batch.__new__(Batch)  # calling the class costs as much as all the rest
        batch.channel = self.lone_channel
        batch.delivery = self.lone_delivery
        batch.payloads = [payload]
        batch.size = len(payload)
        self.batches.append(batch)
        return batch

    def consumed(self, channel: int, size: int, messages: int) -> None:
        """The application is done with so many messages of `channel`, `size` bytes in all: give the peer credit."""

    def channel_queued(self, channel: int) -> int:
        """Bytes of `channel` that wait for the peer's credit."""
        return 0

    def channels_max(self) -> int:
        """How many channels both sides agreed on."""
        return 1

    def wants_output(self) -> bool:
        """Whether the driver should ask for output again: asked after every flush."""
        return self.queued_bytes > 0 or self.credit_waiting()

    def credit_waiting(self) -> bool:
        """Whether `consumed` left something to transmit, so that the driver must be woken."""
        return False

    def ping(self, token: int, now: int) -> None:
        """Asks the peer for an answer; a `Pong` event with `token` follows."""
        raise UnsupportedOperation("this framing has no ping")

    def close(self, code: int, reason: str, now: int) -> None:
        """Says goodbye after everything queued; a `Closed` event follows."""
        raise NotImplementedError

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends at once: queued data is dropped, `Closed` is the last event."""
        raise NotImplementedError

    # The five verbs; the stream and datagram dialects differ in `receive` and `transmit`, so they are not here.
    def events(self) -> list[Any]:
        """What happened since the last call, drained."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """When to call `expire`."""
        raise NotImplementedError

    def expire(self, now: int) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def statistics(self) -> dict[str, int]:
        """Counters of this session by name."""
        return {}

    def info(self, name: str) -> Any:
        """What `get_extra_info` can say of this session; None for what it does not know."""
        return None


class ByteSession(MessageSession):
    """A message session over an ordered byte pipe: the stream dialect of the verbs, typed for the stream driver.

    Attributes:
        is_full: it holds input that it has not looked at, so that others have their turn. Until `expire`, which is due
            at once unless nobody listens, has made room, the driver reads nothing.
    """

    def __init__(self) -> None:
        MessageSession.__init__(self)
        self.is_full = False

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" is the end of the peer's stream."""
        raise NotImplementedError

    def transmit(self, now: int) -> list[bytes | bytearray]:
        """Buffers for one write, `EOF` last when nothing will follow."""
        raise NotImplementedError

    def transmit_run(self) -> bytearray | None:
        """All that `transmit` would give, if it is one run of messages; else None, and nothing is taken.

        Who has written it gives it back by `recycle`.
        """
        return None

    def recycle(self, run: bytearray) -> None:
        """`run` is written, and its memory free for the next one."""

    def pending(self) -> bool:
        """Whether `transmit` would give anything: spares the driver the call that only finds out there is nothing."""
        raise NotImplementedError

    def listening(self, is_reading: bool, now: int) -> None:
        """From the driver: it has stopped to read, or reads again. Silence while it does not says nothing."""

    def due(self) -> int:
        """`deadline` as a plain number, -1 for none."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """When to call `expire`, or None."""
        due = self.due()
        return None if due < 0 else due
