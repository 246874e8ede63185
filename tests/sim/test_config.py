"""Scenarios are checked when they are written down, not in the middle of a run."""

from __future__ import annotations

import dataclasses

import pytest

from transport import limits
from transport.sim.config import BurstLoss, LinkConfig


@pytest.mark.parametrize("name", ["loss", "duplicate", "reorder", "corrupt"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_probabilities(name: str, value: float):
    with pytest.raises(ValueError, match=name):
        LinkConfig(**{"reorder_ns": 1, name: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"delay_ns": -1},
        {"delay_ns": 0.5},
        {"delay_ns": True},
        {"delay_ns": 10**18 + 1},
        {"jitter_ns": -1},
        {"mtu": -1},
        {"rate_bits_per_s": 10**15 + 1},
        {"queue_bytes": 0},
        {"queue_bytes": limits.SIM_QUEUE_BYTES + 1},
        {"ecn_mark_bytes": -1},
        {"corrupt_bits": 0},
        {"reorder": 0.1},
        {"loss_per": limits.SIM_CHANGES_MAX + 1},
        {"blackouts": ((5, 5),)},
        {"blackouts": ((5, 7), (6, 8))},
        {"blackouts": tuple((i, i + 1) for i in range(limits.SIM_CHANGES_MAX + 1))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_refused(changes: dict):
    with pytest.raises(ValueError):
        LinkConfig(**changes)


@pytest.mark.parametrize("changes", [{"good_ns": 0}, {"bad_ns": 0}, {"loss_bad": 2.0}, {"bad_ns": 10**15 + 1}])
def test_bursts_refused(changes: dict):
    with pytest.raises(ValueError):
        BurstLoss(**{"good_ns": 1, "bad_ns": 1, **changes})


def test_mean_loss_of_bursts():
    assert BurstLoss(good_ns=900, bad_ns=100).mean_loss == pytest.approx(0.1)
    assert BurstLoss(good_ns=900, bad_ns=100, loss_bad=0.5, loss_good=0.1).mean_loss == pytest.approx(0.14)


def test_loses():
    holding = LinkConfig(delay_ns=1, jitter_ns=1, rate_bits_per_s=1, blackouts=((1, 2),), down=True)
    assert not holding.loses
    for changes in ({"loss": 0.1}, {"burst": BurstLoss(good_ns=1, bad_ns=1)}, {"mtu": 1}, {"jitter_reorders": True},
                    {"duplicate": 0.1}, {"corrupt": 0.1}, {"reorder": 0.1, "reorder_ns": 1}):  # fmt: skip
        assert dataclasses.replace(holding, **changes).loses, changes


def test_a_scenario_is_a_value():
    assert LinkConfig(loss=0.1) == LinkConfig(loss=0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        LinkConfig().loss = 0.5  # type: ignore[misc]
