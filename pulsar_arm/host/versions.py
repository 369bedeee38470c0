"""Go through the versions of an artifact from one of them outwards."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cmp_to_key

_UNFINISHED = re.compile(
    r"(?:^|[.-])(?:alpha|beta|milestone|m|rc|cr|snapshot|pre|dev)[.-]?\d*$", re.IGNORECASE
)


def outwards(versions: Iterable[str], start: str) -> tuple[str, ...]:
    """The finished versions other than `start`, the nearest first; they are ordered as Maven orders them.

    Nearer are those that share more leading numbers with `start`: of 4.1.45 first the 4.1.x, then the 4.x,
    then the rest. Of equally near ones the later come first, upwards, and then the earlier, downwards.
    """
    from jgo.maven import compare_versions  # here, because jgo takes a third of a second to import

    order = cmp_to_key(compare_versions)
    finished = {one for one in versions if one != start and not _UNFINISHED.search(one)}
    later = sorted((one for one in finished if compare_versions(one, start) > 0), key=order)
    earlier = sorted((one for one in finished if compare_versions(one, start) <= 0), key=order, reverse=True)
    # Sorting is stable: what is equally near keeps this order.
    return tuple(sorted([*later, *earlier], key=lambda one: -_shared(one, start)))


def _shared(one: str, other: str) -> int:
    """How many leading numbers are the same; the last one of a version counts as any other."""
    count = 0
    for left, right in zip(re.findall(r"\d+", one), re.findall(r"\d+", other), strict=False):
        if left != right:
            break
        count += 1
    return count
