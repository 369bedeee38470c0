"""What a long step says while it works: notes and progress bars, always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """The seam between the stages, which tell, and the terminal, which shows."""

    def note(self, sentence: str) -> None:
        """Say one line of narrative."""
        ...

    def task(self, label: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show a step of `total` bytes (None: unknown); the yielded function advances it."""
        ...


class Silent:
    """Says nothing: for libraries, tests and `-q`."""

    def note(self, sentence: str) -> None:
        """Say nothing."""

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda _count: None


class Counted:
    """Says nothing, but counts for another what all tasks advance."""

    def __init__(self, advance: Advance) -> None:
        """Tell `advance` of everything."""
        self._advance = advance

    def note(self, sentence: str) -> None:
        """Say nothing."""

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Advance]:
        """Count."""
        yield self._advance


class Terminal:
    """Notes as lines, tasks as bars with rate and time left; without a terminal, lines only."""

    def note(self, sentence: str) -> None:
        """Print one line."""
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the narrative's own place

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Advance]:
        """A bar on a terminal, else one line when the step begins."""
        if not sys.stderr.isatty():
            self.note(label)
            yield lambda _count: None
            return
        from pulsar_arm.host.bars import bar  # rich takes longer to import than a jar to scan

        with bar(label, total) as advance:
            yield advance
        self.note(label)
