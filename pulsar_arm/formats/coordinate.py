"""The names of files in Maven repositories."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Self

from pulsar_arm.errors import UsageError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The name of one file in a Maven repository."""

    group: str
    artifact: str
    version: str
    extension: str = "jar"
    """Of the published file: connectors, which are NARs, are published as `jar`."""
    classifier: str = ""

    def __post_init__(self) -> None:
        """UsageError for parts that no repository can have, or that would lead out of the cache."""
        for part in fields(self):
            value = getattr(self, part.name)
            wrong = not _PART.fullmatch(value) or (part.name == "group" and ".." in value)
            if wrong and (value or part.name != "classifier"):
                raise UsageError(
                    f"{value!r} is no {part.name} of a Maven coordinate: give group:artifact:version."
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `group:artifact:version[:extension[:classifier]]`; UsageError for anything else."""
        parts = text.split(":")
        if not 3 <= len(parts) <= 5:
            raise UsageError(
                f"{text!r} is no Maven coordinate: write group:artifact:version[:extension[:classifier]]."
            )
        return cls(*parts)

    def __str__(self) -> str:
        """As `parse` reads it, and as short as can be."""
        text = f"{self.group}:{self.artifact}:{self.version}"
        if self.classifier:
            return f"{text}:{self.extension}:{self.classifier}"
        return text if self.extension == "jar" else f"{text}:{self.extension}"

    @property
    def file(self) -> str:
        """The file's name."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.extension}"

    @property
    def path(self) -> str:
        """Where the file lies below a repository's URL (Maven's default repository layout)."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file}"
