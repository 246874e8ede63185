"""The model checker finds nothing wrong, and finds what was made wrong on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.events import checker
from tests.events.stepped import SteppedWriter
from transport.events import envelope, opening
from transport.events.link import Link
from transport.events.session import Session, Verdict
from transport.events.streams import Subscription
from transport.log.memory import MemoryLog
from transport.log.sqlite import SQLiteLog

LOGS = pytest.mark.parametrize("log", ["memory", "sqlite"])


@LOGS
@pytest.mark.parametrize("number", range(4))
def test_nothing_is_wrong(number: int, log: str) -> None:
    outcome = checker.check(number, steps=100, log=log)
    assert not outcome.wrong
    assert outcome.delivered > 100


def test_the_schedules_are_hard_enough() -> None:
    total = [checker.check(seed, steps=100) for seed in range(100, 104)]
    assert sum([one.replayed for one in total]) > 100
    assert sum([one.gaps for one in total]) > 0
    assert sum([one.sent for one in total]) > 50


@LOGS
def test_a_seed_repeats_its_run(log: str) -> None:
    one, two, other = (checker.check(seed, steps=60, log=log) for seed in (7, 7, 8))
    assert one == two
    assert one.delivered != other.delivered


@pytest.mark.slow
def test_a_file_is_killed_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a commit, and behind one that nobody has heard of."""
    kill, ways = SteppedWriter.kill, set()

    def noted(self: SteppedWriter, commits: bool) -> Any:
        ways.add((bool(self._ready), commits or bool(self.untold)))
        return kill(self, commits)

    monkeypatch.setattr(SteppedWriter, "kill", noted)
    for seed in range(200, 206):
        assert not checker.check(seed, steps=100, log="sqlite").wrong
    assert {(True, False), (True, True)} <= ways


def found(seeds: int = 12, log: str = "memory") -> bool:
    """Whether one of some schedules shows that something is wrong."""
    return any(checker.check(seed, log=log).wrong for seed in range(seeds))


@LOGS
def test_a_dropped_fence(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "fence", lambda self, generation: None)
    assert found(log=log)


@LOGS
def test_a_lost_epoch(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that looks at the offset alone."""
    original = opening.restore

    async def restore(app: Any, link: Any, session: Any, room: str, claim: Any, *rest: Any, **more: Any) -> None:
        if claim is not None and room:
            head = await app.hub.log.head(opening.stream_name(session, room))
            claim = claim._replace(epoch=head.epoch, offset=min(claim.offset, head.top), since=0)
            claim = claim._replace(ticket=app.hub.tokens.ticket(session.id, "/", claim))
        await original(app, link, session, room, claim, *rest, **more)

    monkeypatch.setattr(opening, "restore", restore)
    assert found(40, log)


@LOGS
def test_a_page_that_begins_one_too_late(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"memory": MemoryLog, "sqlite": SQLiteLog}[log]
    original = kind.read

    async def read(self: Any, stream: Any, after: int, **bounds: Any) -> Any:
        head = await self.head(stream)
        return await original(self, stream, min(after + 1, head.top), **bounds)

    def follows(self: Any, stream: Any, offset: int, step: int, replay: bool) -> bool:
        """Without this the client's own eyes find the hole, and mend it."""
        return bool(offset > stream.tracker.received and not stream.paused)

    monkeypatch.setattr(kind, "read", read)
    monkeypatch.setattr("transport.events.client.Client._follows", follows)
    assert found(log=log)


def test_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live too early: what is held is forgotten."""

    def catch_up(self: Any) -> bool:
        if self.missing is None and self.mode == 1:
            self.sent = self.stream.top
            self._answer()
            self.set_mode(0)
        return True

    monkeypatch.setattr(Subscription, "catch_up", catch_up)
    assert found()


def test_a_message_that_is_handled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Session.message

    def message(self: Any, number: int, floor: int) -> Verdict:
        verdict = original(self, number, floor)
        return Verdict.RUN if verdict in (Verdict.DONE, Verdict.AGAIN) else verdict

    monkeypatch.setattr(Session, "message", message)
    monkeypatch.setattr("transport.events.dispatch.Turn.cause", lambda self: None)
    assert found()


def test_a_skip_that_is_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(self: Any, event: Any) -> None:
        self.sent = event.offset
        step = event.offset - event.previous
        self.member.write(envelope.event(self.stream.alias, event.offset, step, event.payload, replay=True))

    monkeypatch.setattr(Subscription, "_deliver", deliver)
    assert found()


@pytest.mark.parametrize("number", range(2))
def test_nothing_is_wrong_on_a_bad_link(number: int) -> None:
    """Reliable UDP over a link that loses and reorders: what is under way for long is what byte pipes hardly have."""
    outcome = checker.check(number, steps=60, link=checker.LOSSY)
    assert not outcome.wrong
    assert outcome.delivered > 50
