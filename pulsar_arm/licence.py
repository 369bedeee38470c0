"""Find the licence of an artifact: in its pom, or in those it inherits from."""

from __future__ import annotations

import re

from pulsar_arm.errors import InputError
from pulsar_arm.formats.pom import read_pom
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository

_GENERATIONS = 10
"""Parents that are followed; real chains have three or four."""
# How authors write the licences of libraries with natives, and their SPDX identifiers.
_SPDX = (
    (r"apache.*2", "Apache-2.0"),
    (r"bsd.*3|(new|revised|modified) bsd", "BSD-3-Clause"),
    (r"bsd.*2|simplified bsd", "BSD-2-Clause"),
    (r"lesser.*2\.1|lgpl.*2\.1", "LGPL-2.1-only"),
    (r"general public.*2|gpl.*2", "GPL-2.0-only"),
    (r"eclipse.*2|epl.*2", "EPL-2.0"),
    (r"eclipse.*1|epl.*1", "EPL-1.0"),
    (r"\bmit\b", "MIT"),
)


def licence_of(coordinate: Coordinate, repository: Repository) -> str:
    """The licence as an SPDX expression; a name that SPDX does not know stays as it is written.

    Empty when neither its pom nor a parent names one, or no pom is published.
    """
    pom = (coordinate.group, coordinate.artifact, coordinate.version)
    for _generation in range(_GENERATIONS):
        where = Coordinate(*pom, "pom")
        try:
            read = read_pom(repository.fetch(where).path.read_bytes(), str(where))
        except (NotPublished, InputError):
            return ""
        if read.licences:
            return " OR ".join(dict.fromkeys(_spdx(name) for name in read.licences))
        if read.parent is None:
            return ""
        pom = read.parent
    return ""


def _spdx(name: str) -> str:
    known = (spdx for pattern, spdx in _SPDX if re.search(pattern, name, re.IGNORECASE))
    return next(known, name)
