"""Five hundred seeded scenarios of reliable UDP hold every invariant; `make sim SEED=1-5000` plays more.

A failure is followed by its smallest form and the one command that plays it again.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak import minimise
from tests.soak.run import Run
from tests.soak.scenario import generate
from transport import _build

IS_COMPILED = any(_build.modules().values())
SEEDS = 500 if IS_COMPILED else 25
CHUNK = 10 if IS_COMPILED else 5
MINIMISE_S = 8.0  # a test has 20 s


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            Run(generate(seed)).play()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}\n{minimise.report(seed, seconds=MINIMISE_S)}") from error


def test_a_new_seed(seed: int) -> None:
    """Whatever the fixed ones don't meet."""
    try:
        Run(generate(seed)).play()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}\n{minimise.report(seed, seconds=MINIMISE_S)}") from error


@pytest.mark.parametrize("number", [3, 20])
def test_the_same_seed_is_the_same_run(number: int) -> None:
    first, again = Run(generate(number)).play(), Run(generate(number)).play()
    assert first.digest() == again.digest()
    assert first.summary == again.summary
    assert first.digest() != Run(generate(number + 1)).play().digest()


@pytest.mark.slow
def test_a_failure_is_cut_down_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an oracle that is wrong about one message, that message is what remains."""
    scenario = generate(20)
    guilty = max(range(len(scenario.actions)), key=lambda index: scenario.actions[index].size)
    size = scenario.actions[guilty].size
    whole = minimise.generate

    class Wrong(Run):
        def play(self) -> Run:
            if any(action.size == size for action in self.scenario.actions):
                raise AssertionError("as wanted")
            return self

    monkeypatch.setattr(minimise, "Run", Wrong)
    monkeypatch.setattr(minimise, "generate", lambda seed, scale: replace(whole(seed, scale), holes=(), widths=()))
    cut, why = minimise.smallest(minimise.Cut(20))
    assert why == "AssertionError: as wanted"
    assert len(cut.kept) == 1 and scenario.actions[cut.kept[0]].size == size
    assert "delay" in cut.left_out and "skew" in cut.left_out
    assert f'make sim SEED=20 ARGS="--without {",".join(cut.left_out)} --only {cut.kept[0]}"' in minimise.report(20)
