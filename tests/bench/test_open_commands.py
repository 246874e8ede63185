"""Commands of open loops: what they are asked for is run, or refused in one line before anything is measured."""

from __future__ import annotations

from typing import Any

import pytest

from bench import cli, cli_open
from bench.link import emulator


def test_bulk_also_runs_the_flows_that_share_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def record(_options: Any, request: Any, **more: Any) -> int:
        seen[request.command] = more.get("probes", [])
        return 0

    monkeypatch.setattr(emulator, "why_not", lambda: None)
    monkeypatch.setattr(cli, "measure", record)
    assert cli.main(["bulk", "--peers", "tcp", "--rounds", "2"]) == 0
    ((name, total, _),) = seen["bulk"]
    assert (name, total) == ("sharing", len(cli_open.RIVALS) * 2)
    assert cli.main(["bulk", "--peers", "tcp", "--no-sharing"]) == 0
    assert not seen["bulk"]
    assert cli.main(["rate", "--peers", "tcp"]) == 0
    assert not seen["rate"]
