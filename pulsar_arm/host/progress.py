"""What a long step says while it works: notes and progress bars, always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

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


class Terminal:
    """Notes as lines, tasks as bars with rate and time left; without a terminal, lines only."""

    def __init__(self) -> None:
        """Write to stderr; rich honours NO_COLOR and finds out whether a terminal is there."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def note(self, sentence: str) -> None:
        """Print one line."""
        self._console.print(sentence, markup=False)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Advance]:
        """A bar on a terminal, else one line when the step begins."""
        if not self._console.is_terminal:
            self.note(label)
            yield lambda _count: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console, transient=True) as bars:
            row = bars.add_task(label, total=total)
            yield lambda count: bars.update(row, advance=count)
        self.note(label)
