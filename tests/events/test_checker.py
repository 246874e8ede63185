"""The model checker finds nothing wrong, and finds what was made wrong on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.events import checker
from transport.events import envelope, opening
from transport.events.link import Link
from transport.events.session import Session, Verdict
from transport.events.streams import Subscription
from transport.log.memory import MemoryLog


@pytest.mark.parametrize("number", range(4))
def test_nothing_is_wrong(number: int) -> None:
    outcome = checker.check(number, steps=100)
    assert not outcome.wrong
    assert outcome.delivered > 100


def test_the_schedules_are_hard_enough() -> None:
    total = [checker.check(seed, steps=100) for seed in range(100, 104)]
    assert sum([one.replayed for one in total]) > 100
    assert sum([one.gaps for one in total]) > 0
    assert sum([one.sent for one in total]) > 50


def found(seeds: int = 12) -> bool:
    """Whether one of some schedules shows that something is wrong."""
    return any(checker.check(seed).wrong for seed in range(seeds))


def test_a_dropped_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "fence", lambda self, generation: None)
    assert found()


def test_a_lost_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that looks at the offset alone."""
    original = opening.restore

    async def restore(app: Any, link: Any, session: Any, room: str, claim: Any, *rest: Any, **more: Any) -> None:
        if claim is not None and room:
            head = await app.hub.log.head(opening.stream_name(session, room))
            claim = claim._replace(epoch=head.epoch, offset=min(claim.offset, head.top), since=0)
            claim = claim._replace(ticket=app.hub.tokens.ticket(session.id, "/", claim))
        await original(app, link, session, room, claim, *rest, **more)

    monkeypatch.setattr(opening, "restore", restore)
    assert found(40)


def test_a_page_that_begins_one_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MemoryLog.read

    async def read(self: Any, stream: Any, after: int, **bounds: Any) -> Any:
        head = await self.head(stream)
        return await original(self, stream, min(after + 1, head.top), **bounds)

    def follows(self: Any, stream: Any, offset: int, step: int, replay: bool) -> bool:
        """Without this the client's own eyes find the hole, and mend it."""
        return bool(offset > stream.tracker.received and not stream.paused)

    monkeypatch.setattr(MemoryLog, "read", read)
    monkeypatch.setattr("transport.events.client.Client._follows", follows)
    assert found()


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
    monkeypatch.setattr("transport.events.namespace.cause_now", lambda: None)
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
