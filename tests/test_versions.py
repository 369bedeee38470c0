from __future__ import annotations

import pytest

from pulsar_arm.host.versions import outwards


@pytest.mark.parametrize(
    ("start", "published", "expected"),
    [
        (
            "4.1.45.Final",
            ["4.0.1.Final", "4.1.44.Final", "4.1.46.Final", "4.1.100.Final", "4.2.0.Final", "5.0.0.Final"],
            ["4.1.46.Final", "4.1.100.Final", "4.1.44.Final", "4.2.0.Final", "4.0.1.Final", "5.0.0.Final"],
        ),
        ("1.1.1.3", ["1.1.10", "1.1.1.2", "1.1.2", "1.1.1.4"], ["1.1.1.4", "1.1.1.2", "1.1.2", "1.1.10"]),
        ("5.13.3", ["5.18.4", "5.13.3", "6.0.0", "4.0.0"], ["5.18.4", "6.0.0", "4.0.0"]),
        ("2.5.2", ["2.5.3-alpha", "2.5.3-RC1", "2.6-M1", "2.6.0-SNAPSHOT", "2.6.1"], ["2.6.1"]),
    ],
)
def test_versions_are_walked_from_the_nearest_outwards(
    start: str, published: list[str], expected: list[str]
) -> None:
    assert list(outwards(published, start)) == expected
    assert list(outwards(reversed(published), start)) == expected
