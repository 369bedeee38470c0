"""What a verification is made of: one row for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["static", "load", "probe", "boot"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""In order: each includes those before it."""

Outcome = Literal["passed", "tolerated", "failed", "skipped"]
"""`tolerated`: it does not work, and the server works without; `skipped`: not tried, for the reason given."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    level: Level
    subject: str
    outcome: Outcome
    evidence: str
