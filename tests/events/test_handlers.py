"""Who is called for an event, with and without msgspec."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from transport.errors import LocalProtocolError
from transport.events import handlers
from transport.events.handlers import Handlers, Invalid, convert, is_typed, name_of, named, plain


@dataclass
class Said:
    user: str
    text: str = ""


class Moved(msgspec.Struct):
    __event__ = "player.moved"
    x: int
    y: int
    raw: bytes = b""


def test_names_and_data() -> None:
    assert named("said", 1) == ("said", 1)
    assert named(Said("ann", "hi"), None) == ("said", {"user": "ann", "text": "hi"})
    assert named("other", Said("ann")) == ("other", {"user": "ann", "text": ""})
    assert named(Moved(1, 2, b"x"), None) == ("player.moved", {"x": 1, "y": 2, "raw": b"x"})
    for event in (None, 5, "", "x" * 256, Said):
        with pytest.raises(LocalProtocolError):
            named(event, None)


@pytest.mark.parametrize("has_msgspec", [True, False])
def test_dataclasses(has_msgspec: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_has_msgspec", has_msgspec)
    assert is_typed(Said)
    assert is_typed(Moved) is has_msgspec
    assert plain(Said("ann", "hi")) == {"user": "ann", "text": "hi"}
    assert convert({"user": "ann"}, Said) == Said("ann")
    for data in (None, [1], {"text": "hi"}, {"user": "ann", "more": 1} if not has_msgspec else {"user": 5}):
        with pytest.raises(Invalid):
            convert(data, Said)


def test_structs() -> None:
    assert name_of(Moved) == "player.moved"
    assert convert({"x": 1, "y": 2}, Moved) == Moved(1, 2)
    with pytest.raises(Invalid, match="x"):
        convert({"x": "one", "y": 2}, Moved)


def test_exact_before_patterns_and_long_before_short() -> None:
    table = Handlers()
    for name in ("room.made", "room.*", "*"):
        table.on(name, print)
    assert [table.find(name)[0].name for name in ("room.made", "room.left", "else")] == ["room.made", "room.*", "*"]
    assert table.count == 3
    assert table.off("room.*") == 1
    assert table.find("room.left")[0].name == "*"
    assert table.off("*", len) == 0
    assert table.off("*") == 1
    assert table.find("room.left") == []


def repeat(ctx: object, data: object) -> object:
    return data


def test_once_is_once() -> None:
    table = Handlers()
    table.on("x", print, once=True)
    table.on("x", repeat)
    assert [handler.function for handler in table.find("x")] == [print, repeat]
    assert [handler.function for handler in table.find("x")] == [repeat]
    table.on("y*", print, once=True)
    assert len(table.find("yes")) == 1
    assert table.find("yes") == []
    assert table.count == 1


def test_mistakes() -> None:
    for event, function in (("", print), (5, print), ("x", 5)):
        with pytest.raises(LocalProtocolError):
            Handlers().on(event, function)
