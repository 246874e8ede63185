"""The set of handled messages against a plain set."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.log import LogLimit
from transport.log.numbers import Numbers


def test_as_a_plain_set(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_BEYOND_MAX", 12)
    for _ in range(200):
        numbers, plain = Numbers(), set[int]()
        for _ in range(60):
            number = rng.randrange(1, 40)
            try:
                numbers.check(number)
            except LogLimit:
                assert number > numbers.contiguous + 12
                continue
            numbers.add(number)
            plain.add(number)
            numbers = Numbers.of(numbers.contiguous, numbers.text())
            assert {each for each in range(1, 41) if each in numbers} == plain
            assert numbers.contiguous + 1 not in plain
            assert len(numbers.beyond) <= 12
            assert all(each > numbers.contiguous for each in numbers.beyond)
