"""Say what a lint found: as a table, as JSON, as SARIF for code scanning; and mend what is safe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text
from ruamel.yaml import YAML

from pulsar_arm import __version__, report
from pulsar_arm.deploy.rules import Finding, Fix
from pulsar_arm.formats.properties import with_properties
from pulsar_arm.host.files import whole_file
from pulsar_arm.printable import printable

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def table(findings: Sequence[Finding], files: int) -> list[RenderableType]:
    """The answer first, then a row for each finding."""
    if not findings:
        return [report.words(f"Nothing known to fail was found in {files} files.")]
    rows = report.columns(2)
    for one in findings:
        what = report.words(f"{one.file}: {one.where}", "bold").append(
            f" ({one.rule.name})", style="not bold"
        )
        rows.add_row(Text(one.rule.weight, style=_STYLES[one.rule.weight]), what)
        rows.add_row("", report.words(f"{one.says}: {one.rule.reason}"))
        rows.add_row("", report.words(f"-> {one.rule.remedy} ({one.rule.evidence})"))
    errors = sum(one.rule.weight == "error" for one in findings)
    return [report.words(f"{len(findings)} findings in {files} files, {errors} of them errors."), rows]


def as_json(findings: Sequence[Finding]) -> str:
    """A row per finding."""
    rows = [
        {
            "rule": one.rule.name,
            "weight": one.rule.weight,
            "file": str(one.file),
            "where": one.where,
            "says": one.says,
            "reason": one.rule.reason,
            "remedy": one.rule.remedy,
            "evidence": one.rule.evidence,
            "fixable": one.fix is not None,
        }
        for one in findings
    ]
    return report.dump({"schema_version": report.SCHEMA_VERSION, "findings": rows})


def as_sarif(findings: Sequence[Finding]) -> str:
    """SARIF 2.1.0 (OASIS), a result per finding; the places are files, since YAML's lines may have moved."""
    rules = {one.rule.name: one.rule for one in findings}
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "pulsar-arm deploy lint",
                "version": __version__,
                "rules": [
                    {
                        "id": rule.name,
                        "shortDescription": {"text": rule.reason},
                        "help": {"text": f"{rule.remedy} ({rule.evidence})"},
                    }
                    for rule in rules.values()
                ],
            }
        },
        "results": [
            {
                "ruleId": one.rule.name,
                "level": one.rule.weight,
                "message": {"text": printable(f"{one.where}: {one.says}; {one.rule.remedy}")},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": one.file.as_posix()},
                            "region": {"startLine": 1},
                        }
                    }
                ],
            }
            for one in findings
        ],
    }
    return json.dumps({"version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def mend(findings: Sequence[Finding]) -> tuple[Path, ...]:
    """Make the safe changes, each file whole; comments and order stay. Gives the files that changed."""
    fixes: dict[Path, list[Fix]] = {}
    for one in findings:
        if one.fix:
            fixes.setdefault(one.fix.file, []).append(one.fix)
    for path, changes in fixes.items():
        with whole_file(path, force=True) as place:
            if path.suffix == ".conf":
                values = {str(fix.place[-1]): fix.value for fix in changes}
                place.write_text(with_properties(path.read_text(encoding="utf-8"), values), encoding="utf-8")
            else:
                _mend_yaml(path, changes, place)
    return tuple(fixes)


def _mend_yaml(path: Path, fixes: Sequence[Fix], place: Path) -> None:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    documents = list(yaml.load_all(path.read_text(encoding="utf-8")))
    for fix in fixes:
        number, *keys, last = fix.place
        node = documents[int(number)]
        for key in keys:
            node = node[key]
        before = node[last]
        is_line = isinstance(last, int) and isinstance(before, str) and "=" in before
        node[last] = f"{before.partition('=')[0]}={fix.value}" if is_line else fix.value
    with place.open("w", encoding="utf-8") as out:
        yaml.dump_all(documents, out)
