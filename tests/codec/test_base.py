"""Finding a codec: by name, as an object, and what is said of everything else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from transport.codec.base import NAMES, Codec, resolve
from transport.codec.json import JsonCodec
from transport.codec.msgpack import MsgpackCodec
from transport.codec.raw import RawCodec
from transport.errors import LocalProtocolError


class Upper:
    def encode(self, message: Any) -> bytes:
        return str(message).upper().encode()

    def decode(self, payload: bytes) -> Any:
        return payload.decode()


@pytest.mark.parametrize(("name", "kind"), [("msgpack", MsgpackCodec), ("raw", RawCodec), ("json", JsonCodec)])
def test_by_name(name: str, kind: type) -> None:
    codec = resolve(name)
    assert isinstance(codec, kind)
    assert isinstance(codec, Codec)
    assert codec.name == name
    assert resolve(name) is codec
    assert name in NAMES


def test_an_object_is_taken_as_it_is() -> None:
    mine: Any = Upper()
    assert resolve(mine) is mine


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("msgpak", "'msgpak' is none of msgpack, raw, json"),
        ("msgspec", r"give MsgspecCodec\(Type\)"),
        ("", "is none of"),
        (MsgpackCodec, r"is a class; give an object: MsgpackCodec\("),
        (object(), r"object has no encode\(\)"),
        (None, r"NoneType has no encode\(\)"),
        (type("Half", (), {"encode": lambda self, m: b"", "decode": 5})(), r"Half has no decode\(\)"),
    ],
)
def test_anything_else(wrong: Any, says: str) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        resolve(wrong)


def test_only_what_is_used_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); from transport.codec.base import resolve; resolve('raw');"
        "print(*{'msgpack', 'json', 'msgspec'} & (set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
