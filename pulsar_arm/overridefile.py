"""Write an override file, or put a remedy into one that is there, whose other words all stay."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pulsar_arm.catalog import Remedy, read_override
from pulsar_arm.errors import UsageError
from pulsar_arm.host.files import whole_file
from pulsar_arm.printable import printable
from pulsar_arm.scan import Gap

_REMEDY = re.compile(r"^\[\[remedy\]\]$", re.MULTILINE)


def write_remedies(
    folder: Path, gap: Gap, remedies: Sequence[Remedy], known: Path | None, *, force: bool = False
) -> Path:
    """Write the override of the gap's library into `folder`, and give its path.

    What `known`, the file of the same library, says already is kept. UsageError when the file exists in
    `folder` and `force` is not given; CatalogError when what comes out is no override.
    """
    path = folder / f"{gap.library}.toml"
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists already: --force puts what was found before what it says, and keeps all of that."
        )
    text = known.read_text("utf-8") if known else ""
    with whole_file(path, force=force) as fresh:
        fresh.write_text(
            _with_remedies(text, remedies) if text else _new_override(gap, remedies), encoding="utf-8"
        )
        read_override(fresh)
    return path


def _new_override(gap: Gap, remedies: Sequence[Remedy]) -> str:
    """A file for a library that has none: its gap as the scan judged it, and what mends it."""
    head = f"schema = 1\nsummary = {_text(gap.library)}\n\n"
    rows = (
        ("level", gap.severity),
        ("reason", gap.reason),
        ("evidence", "written by `pulsar-arm catalog add`"),
    )
    return f"{head}[[severity]]\n{_rows(rows)}\n{_remedies(remedies)}"


def _with_remedies(text: str, remedies: Sequence[Remedy]) -> str:
    """The text of an override with these remedies before its own, so that they are tried first."""
    match = _REMEDY.search(text)
    added = _remedies(remedies)
    if match is None:
        return f"{text.rstrip()}\n\n{added}"
    return f"{text[: match.start()]}{added}\n{text[match.start() :]}"


def _remedies(remedies: Sequence[Remedy]) -> str:
    return "\n".join(f"[[remedy]]\n{_remedy(one)}" for one in remedies)


def _remedy(remedy: Remedy) -> str:
    versions = f"versions = [{', '.join(_text(one) for one in remedy.versions)}]\n"
    rows = (
        ("action", remedy.action),
        ("with", remedy.coordinate),
        ("sha256", remedy.sha256),
        ("licence", remedy.licence),
        ("why", remedy.why),
    )
    return versions + _rows(rows)


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{key} = {_text(value)}\n" for key, value in rows)


def _text(value: str) -> str:
    """A TOML basic string: what prints is written alike in JSON."""
    return json.dumps(printable(value), ensure_ascii=False)
