"""One HTML page that needs nothing else: findings, the matrix of libraries and machines, and a filter."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pulsar_arm import __version__, report
from pulsar_arm.catalog import SEVERITIES, folder
from pulsar_arm.printable import printable
from pulsar_arm.reports.findings import Finding, Report, answer, left_out
from pulsar_arm.scan import Native
from pulsar_arm.verify import Verification
from pulsar_arm.walk import NOT_COVERED

_TEMPLATE = "report.html.j2"
_USUAL = ("aarch64", "x86_64", "x86", "arm", "ppc64le")
"""The machines of servers have a column each, where anything is there for them; others are named."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands before the scan of an image, or ported distribution, that was verified."""

    verification: Verification
    parts: tuple[Mapping[str, Any], ...]
    """The receipt of each part, as `port` and `build` write them; empty where none was found."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One library of one class path in the matrix."""

    library: str
    version: str
    scope: str
    state: str
    """A severity where it is a finding, else `fine`, `beside` (another jar serves) or `other`."""
    says: str
    """In the column of the target."""
    detail: str
    machines: frozenset[str]
    """Of its Linux libraries."""
    others: tuple[str, ...]
    """Machines without a column, then other systems it has libraries for."""


@dataclass(frozen=True, slots=True)
class _Matrix:
    machines: tuple[str, ...]
    """The target first."""
    scopes: tuple[tuple[str, tuple[_Line, ...]], ...]


def render(reports: Sequence[Report], evidence: Evidence | None = None) -> str:
    """The whole page; equal scans give equal bytes. `evidence` stands before what it led to."""
    environment = Environment(
        loader=FileSystemLoader(folder(_TEMPLATE).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(
        reports=reports,
        evidence=evidence,
        version=__version__,
        severities=SEVERITIES,
        not_covered=NOT_COVERED,
        title=lambda told: report.title(told.plan.inventory),
        tone=_tone,
        matrix=_matrix,
        answer=answer,
        left_out=left_out,
    )


def _shown(value: object) -> object:
    """What every expression of the template goes through; markup of its own macros passes."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _tone(told: Report) -> str:
    """The colour of the verdict: the worst severity, or that something could not be read, or fine."""
    worst = next((severity for severity, count in told.counts if count), "")
    return worst or ("unread" if told.plan.inventory.unreadable else "fine")


def _matrix(told: Report) -> _Matrix:
    inventory = told.plan.inventory
    target = inventory.target.name
    libraries = defaultdict[tuple[str, str, str], list[Native]](list)
    for native in inventory.libraries:
        libraries[native.scope, native.library, native.version].append(native)
    found = {(one.row.scope, one.row.library, one.row.version): one for one in told.findings}
    scopes = defaultdict[str, list[_Line]](list)
    for key in sorted(libraries):
        scopes[key[0]].append(_line(key, libraries[key], found.get(key), target))
    seen = {machine for lines in scopes.values() for line in lines for machine in line.machines}
    machines = (target, *(one for one in _USUAL if one in seen and one != target))
    return _Matrix(machines, tuple((scope, tuple(lines)) for scope, lines in scopes.items()))


def _line(
    key: tuple[str, str, str], natives: Sequence[Native], finding: Finding | None, target: str
) -> _Line:
    scope, library, version = key
    machines = frozenset(one.machine for one in natives if one.system == "linux")
    state, says = "beside", "in another jar"
    if finding:
        state, says = finding.severity, finding.row.kind
    elif target in machines:
        state, says = "fine", "yes"
    elif not machines:
        state, says = "other", "not for Linux"
    return _Line(
        library,
        version,
        scope,
        state,
        says,
        finding.reason if finding else _needs(natives, target),
        machines,
        (
            *sorted(machines.difference(_USUAL, {target})),
            *sorted({one.system for one in natives} - {"linux"}),
        ),
    )


def _needs(natives: Sequence[Native], target: str) -> str:
    """What the target's libraries want of the system."""
    mine = [one for one in natives if one.machine == target and one.system == "linux"]
    libcs = sorted({one.libc for one in mine if one.libc})
    highest = dict[str, str]()
    for name, number in sorted((needs for one in mine for needs in one.requires), key=_in_order):
        highest[name] = number
    return ", ".join([*libcs, *(f"{name} {number}" for name, number in highest.items())])


def _in_order(needs: tuple[str, str]) -> tuple[str, list[int]]:
    """By name, then as versions are ordered: 2.9 before 2.17."""
    return needs[0], [int(part) for part in re.findall(r"\d+", needs[1])]
