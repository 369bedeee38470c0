"""What a loader would find: the library it asks for, and whether that one would load."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pulsar_arm.families import family
from pulsar_arm.fitness import Runtime, misfit
from pulsar_arm.platforms import Platform
from pulsar_arm.walk import FoundNative

Kind = Literal["missing", "unfit"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a library is a gap."""

    kind: Kind | None = None
    """None when a loader would find one that loads."""
    why: str = ""
    """What there is to say besides, in words."""
    files: tuple[FoundNative, ...] = ()
    """The files that it is about; of a missing library, what is there for other machines."""


_REFERENCES = ("x86_64", "aarch64")
"""Machines that every library of a server is built for, unless it is the target that lacks it."""
_UNMARKED = re.compile(
    r"(?<![a-z])(?:sunos|solaris|freebsd|openbsd|netbsd|dragonfly|aix|hpux|android)", re.IGNORECASE
)


class Lookup:
    """Judges the libraries of one source for a target and a system."""

    def __init__(self, natives: Sequence[FoundNative], target: Platform, runtime: Runtime) -> None:
        self.target = target
        self.runtime = runtime
        self._reference = next(one for one in _REFERENCES if one != target.name)
        self._beside = defaultdict[str, set[str]](set)
        for one in filter(self.there, natives):
            name = one.elf.soname if one.elf else ""
            self._beside[one.container.location].add(name or file_name(one))

    def there(self, found: FoundNative) -> bool:
        """Whether it is a whole library for the target's Linux."""
        return for_linux(found) and found.elf is not None and self.target.name in found.head.machines

    def misfit(self, found: FoundNative) -> str | None:
        """Why a library that is there would not load."""
        beside = self._beside[found.container.location]
        return misfit(found.elf, self.runtime, beside) if found.elf else None

    def by_names(
        self, asks: Sequence[str], class_path: Sequence[FoundNative], same: Sequence[FoundNative]
    ) -> Answer:
        """Of a library whose loader asks for certain entries; any jar of the class path may hold them.

        `class_path` is all that is there for the target, `same` all that the library's own jars hold.
        """
        chosen = [one for one in class_path if one.entry in asks]
        if not chosen:
            there = [one for one in same if self.there(one)]
            asked = f", but its loader asks for {asks[0]}"
            return Answer("missing", f"it holds {there[0].entry}{asked}" if there else "", tuple(same))
        return self._unfit(chosen)

    def by_headers(self, members: Sequence[FoundNative]) -> Answer:
        """Of a library whose loader is not known: every file of the usual machine wants its counterpart.

        That has the same path but for the words of the machine, or is one under a name of its own.
        """
        there = [one for one in members if self.there(one)]
        if not there:
            return Answer("missing", "", tuple(members))
        families = defaultdict[str, list[FoundNative]](list)
        for one in members:
            families[family(one.entry or file_name(one))].append(one)
        alone, spare = list[FoundNative](), 0
        for rows in families.values():
            usual = [one for one in rows if self._reference in one.head.machines]
            built = [one for one in rows if self.there(one)]
            alone += usual[:1] if not built else []
            spare += len(built) if not usual else 0
        if len(alone) > spare:
            why = f"{file_name(alone[0])} has no build for {self.target.name} beside it"
            return Answer("missing", why, tuple(alone))
        # Builds for several C libraries may stand in families of their own.
        near = [one for one in there if one.elf and one.elf.libc in (self.runtime.libc, "")] or there
        for rows in families.values():
            answer = self._unfit([one for one in rows if one in near])
            if answer.kind:
                return answer
        return Answer()

    def _unfit(self, chosen: Sequence[FoundNative]) -> Answer:
        """One that fits is enough."""
        misfits = [self.misfit(one) for one in chosen]
        if not chosen or not all(misfits):
            return Answer()
        return Answer("unfit", f"{file_name(chosen[0])} {misfits[0]}", tuple(chosen))


def for_linux(found: FoundNative) -> bool:
    """A library of Linux with a C library of servers; Android's is another system's."""
    if (
        found.head.format != "elf"
        or found.head.system != "linux"
        or (found.elf and found.elf.libc == "bionic")
    ):
        return False
    # Solaris and the older BSDs do not mark their ELF files: there, and only there, the folder tells.
    return not _UNMARKED.search(found.entry)


def file_name(found: FoundNative) -> str:
    """The last part of its location."""
    return posixpath.basename(found.location)
