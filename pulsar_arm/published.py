"""What a published jar holds for a machine, told by its directory and the heads of few entries."""

from __future__ import annotations

import re

from pulsar_arm.formats.native import HEAD_SIZE, read_head
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.platforms import Platform

# A Linux library ends in `.so`, or in `.so` and numbers, and a program has no suffix; each look is a request.
_LIKELY = re.compile(r"(?!META-INF/[A-Z]+$).*(?:\.so(?:\.\d+)*|(?:^|/)[^./]+)")


def libraries(coordinate: Coordinate, target: Platform, repository: Repository) -> tuple[str, ...]:
    """The entries that are Linux libraries, or programs, for the target, in the jar's order.

    Of a jar that is not in the cache only these bytes travel. NotPublished when there is none.
    """
    heads = repository.heads(coordinate, lambda name: bool(_LIKELY.fullmatch(name)), HEAD_SIZE)
    return tuple(name for name, start in heads.items() if _fits(start, target))


def _fits(start: bytes, target: Platform) -> bool:
    head = read_head(start)
    return bool(head and head.format == "elf" and head.system == "linux" and target.name in head.machines)
