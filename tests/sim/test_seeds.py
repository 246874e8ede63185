"""Seeds are the same in every process and on every Python."""

from __future__ import annotations

from transport.sim.seeds import derive, stream


def test_known_values():
    assert derive(7, "loss") == 77833589369189772975602361712290176844
    assert stream(7, "loss").random() == 0.47962449990820144


def test_names_and_seeds_are_told_apart():
    names = [("a", "b"), ("ab",), (("a", "b"),), ("b", "a"), ()]
    seeds = [derive(seed, *each) for seed in (7, 8) for each in names]
    assert len(set(seeds)) == len(seeds)


def test_a_string_is_not_its_number():
    assert derive(7, 1) != derive(7, "1")


def test_a_seed_that_is_a_bool_is_its_number():
    assert derive(True, "x") == derive(1, "x")
