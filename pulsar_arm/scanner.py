"""Scan what lies on this machine: one source here, several side by side in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.fitness import Runtime
from pulsar_arm.host.parallel import side_by_side
from pulsar_arm.host.progress import Advance, Counted, Progress
from pulsar_arm.patches import Patch
from pulsar_arm.plan import Plan, plan
from pulsar_arm.platforms import Platform
from pulsar_arm.scan import Inventory, scan
from pulsar_arm.walk import Limits


@dataclass(frozen=True, slots=True)
class Scanner:
    """What sources are judged by."""

    catalog: Catalog
    patches: Sequence[Patch]
    target: Platform
    runtime: Runtime
    limits: Limits
    progress: Progress

    def plans(self, named: Sequence[tuple[str, Path]]) -> list[Plan]:
        """The judgement of each source, given as what the user calls it and where it lies; in that order.

        Errors as `open_source`.
        """
        judge = partial(_scan, self.catalog, self.target, self.runtime, self.limits)
        if len(named) == 1:
            found = [judge(self.progress, named[0])]
        else:
            label = f"Scanning {', '.join(name for name, _path in named)}"
            files = all(path.is_file() for _name, path in named)
            total = sum(path.stat().st_size for _name, path in named) if files else None
            with self.progress.task(label, total) as advance:
                found = side_by_side(partial(_counted, judge), named, advance)
        return [plan(one, self.catalog, self.patches, libc=self.runtime.libc) for one in found]


_Judge = Callable[[Progress, tuple[str, Path]], Inventory]


def _scan(
    catalog: Catalog,
    target: Platform,
    runtime: Runtime,
    limits: Limits,
    progress: Progress,
    named: tuple[str, Path],
) -> Inventory:
    source = open_source(*named, target)
    if source.image and source.image.platform != target.oci_platform:
        progress.note(f"{source.name} is for {source.image.platform}; it is judged for {target.name}.")
    return scan(source, catalog, target, progress, runtime, limits)


def _counted(judge: _Judge, named: tuple[str, Path], advance: Advance) -> Inventory:
    return judge(Counted(advance), named)
