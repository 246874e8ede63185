"""What becomes of a packet is what the table says: every assignment of a run with losses, compared with it."""

from __future__ import annotations

import pytest

from tests.soak.run import Run
from tests.soak.scenario import generate
from tests.walks import pairs
from transport import _build
from transport.rudp import sent
from transport.rudp.states import FREE, PACKET, Fate, Packet
from transport.states import IllegalTransition

STEPS = {(state, then) for state, _, then in pairs(PACKET)}
IS_COMPILED = any(_build.modules().values())


@pytest.mark.skipif(IS_COMPILED, reason="compiled code assigns without anybody seeing it; both builds do the same")
def test_every_assignment_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: set[tuple[int, int]] = set()

    class Watched(sent.SentPacket):
        _state = -1

        @property
        def state(self) -> int:
            return self._state

        @state.setter
        def state(self, then: int) -> None:
            if self._state >= 0:
                walked.add((self._state, then))
                assert (self._state, then) in STEPS, f"{Packet(self._state).name} becomes {Packet(then).name}"
            else:
                assert then == FREE
            self._state = then

    monkeypatch.setattr(sent, "SentPacket", Watched)
    for seed in range(1, 40):
        Run(generate(seed)).play()
        if walked == STEPS:
            return
    raise AssertionError(f"never walked: {STEPS - walked}")


def test_every_other_pair_is_refused() -> None:
    legal = {pair[:2] for pair in pairs(PACKET)}
    for state in Packet:
        for fate in Fate:
            if (state, fate) not in legal:
                with pytest.raises(IllegalTransition, match="a packet in state"):
                    PACKET.after(state, fate)
