"""What the sender of a connection asks of a congestion controller, whichever it is.

Sizes are bytes of whole datagrams, times are integer nanoseconds of one clock. A controller counts nothing that is in
flight: whoever calls it knows that, and says so. It must never look at a packet, a clock or a socket.
"""

from __future__ import annotations

from transport.rudp.congestion.rates import Mark, RateSampler

INITIAL_PACKETS = 10  # RFC 9002 section 7.2
INITIAL_BYTES = 14_720
MINIMUM_PACKETS = 2


def initial_window(mss: int) -> int:
    """The window that a connection begins with, for datagrams of up to `mss` bytes (RFC 9002 section 7.2)."""
    return min(INITIAL_PACKETS * mss, max(INITIAL_BYTES, MINIMUM_PACKETS * mss))


def minimum_window(mss: int) -> int:
    """The window that nothing goes below (RFC 9002 section 7.2)."""
    return MINIMUM_PACKETS * mss


class Controller:
    """Reacts to nothing: the window stays as it began. The others stand on it.

    Args:
        name: as in the user's options.
        mss: largest datagram at present, in bytes.

    Attributes:
        window: bytes that may be in flight.
        samples: who keeps it, wants delivery rates: every packet gets a mark, and `on_packet_lost` and `on_sample` are
            called. None for who does not, at no cost.
    """

    def __init__(self, name: str, mss: int) -> None:
        self.name = name
        self.mss = mss
        self.window = initial_window(mss)
        self.samples: RateSampler | None = None

    def rate(self, smoothed_rtt: int) -> int:
        """Bytes per second at which to pace, 0 for no pacing."""
        return 0

    def set_mss(self, mss: int) -> None:
        """The path carries larger or smaller datagrams from now on."""
        self.mss = mss

    def on_sent(self, pn: int, size: int, in_flight: int, now: int) -> None:
        """Packet `pn` of `size` bytes goes out; `in_flight` counts it already. Bare acks are no part of this."""

    def on_ack(
        self, acked_bytes: int, largest_sent_time: int, in_flight_before: int, latest_rtt: int, smoothed_rtt: int,
        min_rtt: int, now: int, largest_acked_pn: int, next_pn: int, app_limited: bool,
    ) -> None:  # fmt: skip
        """Packets were acknowledged for the first time; called once for an ACK frame, before `on_loss`.

        Args:
            acked_bytes: of those packets; what had been declared lost is none of them.
            largest_sent_time: when the one with the highest number was sent.
            in_flight_before: bytes in flight before those were taken off.
            latest_rtt: the last sample; looked at only when `largest_acked_pn` has risen. 0 for none yet.
            smoothed_rtt: 0 for none yet.
            min_rtt: 0 for none yet.
            now: the present.
            largest_acked_pn: the highest packet number acknowledged so far.
            next_pn: the number of the next packet to be sent.
            app_limited: the queue is empty or waits for credit. False while only the window or the pacer holds it back
                (RFC 9002 section 7.8).
        """

    def on_loss(self, largest_lost_sent_time: int, lost_bytes: int, in_flight_before: int, now: int) -> None:
        """Packets were declared lost; called once for an ACK frame or a timer.

        Args:
            largest_lost_sent_time: when the last of them was sent.
            lost_bytes: of all of them.
            in_flight_before: bytes in flight before those (and what the same frame acknowledged) were taken off; copies
                of messages are left out, for they take room that nothing else needed.
            now: the present.
        """

    def on_packet_lost(self, mark: Mark, number: int, size: int, sent_time: int, now: int) -> None:
        """Packet `number` of `size` bytes, sent at `sent_time`, was declared lost; `samples` has counted it. For who
        keeps `samples`, for each packet, before `on_loss`.
        """

    def on_sample(self, in_flight: int, now: int) -> None:
        """An ACK frame has been read, acks and losses, and `samples` has what it says. For who keeps `samples`, last of
        all that an ACK frame calls, if it acknowledged anything new; `in_flight` is what is left.
        """

    def on_spurious(self, now: int, sent_time: int = -1, size: int = 0) -> None:
        """A packet declared lost was acknowledged after all.

        Args:
            now: the present.
            sent_time: when it was sent. Says which reaction it is about; unknown (-1), it is about the last one.
            size: its bytes. A reaction is undone when all that was lost has come; unknown (0), it is undone at once.
        """

    def on_persistent(self, now: int) -> None:
        """Everything was lost for so long that the path is another one now (RFC 9002 section 7.6)."""

    def uses_ecn(self) -> bool:
        """Whether it reacts to `on_ecn`; else nothing is marked."""
        return False

    def on_ecn(self, sent_time: int, now: int) -> None:
        """The peer saw more packets marked "congestion experienced"; the last acknowledged one left at `sent_time`."""

    def statistics(self) -> dict[str, int]:
        """Counters and the present state, for people."""
        return {"window": self.window}
