"""The JSON of a scan: what scripts and CI rely on, as `data/scan.schema.json` says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pulsar_arm import report
from pulsar_arm.report import SCHEMA_VERSION
from pulsar_arm.reports.findings import Report
from pulsar_arm.scan import Gap, Native
from pulsar_arm.walk import NOT_COVERED


def render(reports: Sequence[Report]) -> str:
    """One object for one SOURCE, several under `reports`."""
    told = [scan_json(one) for one in reports]
    return report.dump(told[0] if len(told) == 1 else {"schema_version": SCHEMA_VERSION, "reports": told})


def scan_json(told: Report) -> dict[str, Any]:
    """The `scan` object of the JSON contract; the plan says what would mend each row."""
    inventory = told.plan.inventory
    distribution = inventory.distribution
    remedies = {id(one.subject): report.remedy(one) for one in told.plan.verdicts}
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "target": inventory.target.name,
        "runtime": {
            "libc": inventory.runtime.libc,
            "version": inventory.runtime.version or None,
            "page_size": inventory.runtime.page_size or None,
            "base": inventory.runtime.label or None,
        },
        "distribution": {
            "kind": distribution.kind,
            "version": distribution.version,
            "source": distribution.source,
            "sha256": distribution.sha256,
        },
        "libraries": [_library(native) for native in inventory.libraries],
        "gaps": [_gap(gap) | {"remedy": remedies[id(gap)]} for gap in inventory.gaps],
        "checks": [
            {
                "location": check.location,
                "class": check.class_name,
                "severity": check.severity,
                "accepts": list(check.accepts),
                "reason": check.reason,
                "remedy": remedies[id(check)],
            }
            for check in inventory.checks
        ],
        "unreadable": [{"location": row.location, "reason": row.reason} for row in inventory.unreadable],
        "not_covered": list(NOT_COVERED),
        "summary": inventory.summary(),
    }
    if told.known is not None:
        fields["baseline"] = {"known": [asdict(row) for row in told.known]}
    return fields


def _library(native: Native) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "library": native.library,
        "version": native.version,
        "scope": native.scope,
        "location": native.location,
        "format": native.format,
        "machine": native.machine,
        "system": native.system,
        "libc": native.libc or None,
    }
    if native.page_align:
        fields |= {"requires": dict(native.requires), "page_align": native.page_align}
        fields |= {"needed": list(native.needed), "load_aligns": list(native.loads)}
        fields |= {"hazards": list(native.hazards)}
    if native.misfit:
        fields["misfit"] = native.misfit
    return fields | ({"note": native.note} if native.note else {})


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "library": gap.library,
        "version": gap.version,
        "scope": gap.scope,
        "kind": gap.kind,
        "severity": gap.severity,
        "locations": list(gap.locations),
        "present": list(gap.present),
        "reason": gap.reason,
    }
