"""A minute of the fuzz suite: no door breaks, hangs, dies or grows without bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.suite import parts

_MINUTE = 60.0
_MOST_MIB = 400.0


@pytest.mark.slow
def test_no_door_breaks_in_a_minute_of_nonsense(tmp_path: Path) -> None:
    for share, part in parts(tmp_path):
        for tally in part(share * _MINUTE, 1):
            assert tally.tried > 0, tally.door
            assert not tally.faults, f"{tally.door}: {tally.found or tally}"
            assert tally.peak - tally.start < _MOST_MIB, f"{tally.door}: {tally.peak:.0f} MiB"
