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


@pytest.mark.parametrize(
    ("version", "jre"),
    [("2.5.1", 8), ("2.6.0", 8), ("2.10.1", 11), ("3.3.5", 21), ("3.3.6", 21), ("4.0.4", 21), ("4.0.8", 21)],
)
def test_a_pinned_release_has_its_server_and_every_script_of_its_generation_pinned(
    version: str, jre: int
) -> None:
    row = release(version)
    assert row.jre == jre
    assert {"server", *row.scripts} == set(row.pins) - {"offloaders"}
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in row.pins.values())


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


def test_a_release_without_pins_is_no_error() -> None:
    assert pins("1.0.0") == {}
