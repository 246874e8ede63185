"""msgpack by itself: `packb` and `unpackb` of each message, no transport. What a codec cannot cost less than."""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore"

from __future__ import annotations

from bench.cases import THROUGHPUT, Case
from bench.job import Job
from bench.peers.base import FLOOR, Peer


class MsgpackAlone(Peer):
    """One process, one loop: pack, unpack, count by runs."""

    name = "msgpack-alone"
    title = "msgpack alone (floor)"
    kind = FLOOR
    scheme = "memory"
    modules = ("msgpack",)
    distributions = ("msgpack",)
    modes = frozenset({THROUGHPUT})
    codecs = frozenset({"msgpack"})
    one_process = True
    note = "no transport at all: one packb and one unpackb a message"

    def supports(self, case: Case) -> bool:
        """See `Peer`."""
        return super().supports(case) and case.fanout == 1

    def run_both(self, job: Job) -> None:
        """See `Peer`."""
        from msgpack import packb, unpackb

        counter = job.counter(reliable=True)
        sender = job.sender()
        while (batch := sender.next()) is not None:
            result = None
            for message in batch:
                result = unpackb(packb(message))
            if result != batch[-1]:
                job.fail("msgpack did not give back what went in")
            counter.count += len(batch)
            counter.take_bytes(sum(map(len, batch)))
        job.report_sent(sender)
        job.idle()


PEERS = [MsgpackAlone()]
