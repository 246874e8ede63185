"""What is said of a message that can't be encoded: the place, briefly, whatever the message."""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.codec.explain import explain, is_utf8, told


def judge(value: Any) -> str:
    return "" if isinstance(value, int | str) else "odd"


def find(message: Any) -> str:
    return explain(message, judge, judge, 4)


def test_places() -> None:
    assert find([1, {"a": (1, 2)}]) == ""
    assert find(1.5) == "message: odd"
    assert find([1, {"a": (1, 1.5)}, 2.5]) == "message[1]['a'][1]: odd"
    assert find({"a": {1.5: 2}}) == "message['a']: the key 1.5 odd"
    assert find([[[[1]]]]) == ""
    assert find([[[[[]]]]]) == "message[0][0][0][0]: nested deeper than 4 levels (does it contain itself?)"


def test_bounds() -> None:
    assert find([0] * (limits.EXPLAIN_PARTS_MAX + 1)) == "message: more than 1000000 elements"
    assert find([[0] * 600_000] * 2) == "message[1]: more than 1000000 elements"
    assert len(find({"x" * 10_000: {"y" * 10_000: 1.5}})) < 200
    assert len(told(ValueError("x" * 10_000))) < 300
    assert told(KeyError()) == "KeyError"


def test_surrogates() -> None:
    assert is_utf8("aü€\U0001f600")
    assert not is_utf8("a\udc80")
