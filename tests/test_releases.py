from __future__ import annotations

import re

import pytest

from pulsar_arm.errors import UsageError
from pulsar_arm.releases import default_release, pins, release


def test_the_default_release_is_one_that_is_known_and_pinned() -> None:
    row = release(default_release())
    assert row.version == default_release() == "2.6.0"
    assert row.jre == 8
    assert {"server", "offloaders", *row.scripts} == set(row.pins)


def test_a_generation_covers_its_releases() -> None:
    row = release("2.7.5")
    assert (row.jre, row.environment) == (8, release("2.6.0").environment)
    assert dict(row.environment)["PULSAR_PID_DIR"] == "/pulsar/logs"
    assert "gen-yml-from-env.py" in row.scripts
    assert {"conf/**", "data", "logs"} <= set(row.writable)
    assert row.pins == pins("2.7.5")


@pytest.mark.parametrize(
    ("version", "named"), [("1.0.0", "Pulsar 1.0.0"), ("", r"Pulsar \(of unknown version\)")]
)
def test_a_release_of_no_generation_is_refused_with_the_known_ones(version: str, named: str) -> None:
    with pytest.raises(UsageError, match=rf"{named} is not among the known releases: .*2\.6\.\*"):
        release(version)


def test_pins_are_hashes_and_none_is_no_error() -> None:
    assert pins("1.0.0") == {}
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in pins("2.6.0").values())
