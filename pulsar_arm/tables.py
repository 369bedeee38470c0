"""Read the project's TOML data strictly: a wrong or unknown key is one sentence naming file and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulsar_arm.errors import CatalogError


def read_toml(path: Path) -> dict[str, Any]:
    """A data file's tables; CatalogError says where its TOML breaks."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise CatalogError(f"{path.name} cannot be read: {error}.") from error


_PATTERN = re.compile(r"(?:[\w.+*?~-]|\[!?(?:\w-\w|\w)+\])+")


class Table:
    """One TOML table being read: every key is asked for once, and none may be left over."""

    def __init__(self, where: str, rows: Mapping[str, Any]) -> None:
        """`where` names file and table in messages."""
        self._where = where
        self._rows = dict(rows)

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required unless a default is given."""
        value = self._rows.pop(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise CatalogError(f"{self._where}: {key} must be a text that is not empty.")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed strings."""
        value = self.text(key)
        if value not in allowed:
            raise CatalogError(f"{self._where}: {key} is {value!r}, but must be one of {', '.join(allowed)}.")
        return value

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number; required unless a default is given."""
        value = self._rows.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise CatalogError(f"{self._where}: {key} must be a whole number.")
        return value

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        """A string of a given form."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise CatalogError(f"{self._where}: {key} must have the form {pattern.pattern}.")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings; required unless a default is given."""
        if default is not None and key not in self._rows:
            return default
        value = self._rows.pop(key, None)
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
            raise CatalogError(f"{self._where}: {key} must be a list of texts that is not empty.")
        return tuple(value)

    def patterns(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of shell patterns of versions; a bracket is a set of characters, no range as in Maven."""
        values = self.texts(key, default)
        for value in values:
            sets = re.findall(r"(\w)-(\w)", " ".join(re.findall(r"\[(.*?)\]", value)))
            if not _PATTERN.fullmatch(value) or any(first > last for first, last in sets):
                raise CatalogError(
                    f"{self._where}: {key} has {value!r}, which no version can fit: "
                    "write a version, or a shell pattern such as 2.[0-3].*."
                )
        return values

    def tables(self, key: str) -> list[Table]:
        """The tables of `[[key]]`, none if absent."""
        value = self._rows.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise CatalogError(f"{self._where}: {key} must be written as [[{key}]] tables.")
        return [Table(f"{self._where}, [[{key}]] {number}", one) for number, one in enumerate(value, 1)]

    def table(self, key: str) -> Table:
        """The table of `[key]`; an empty one if absent."""
        value = self._rows.pop(key, {})
        if not isinstance(value, dict):
            raise CatalogError(f"{self._where}: {key} must be written as a [{key}] table.")
        return Table(f"{self._where}, [{key}]", value)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of strings, in its order; empty if absent."""
        value = self._rows.pop(key, {})
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise CatalogError(f"{self._where}: {key} must be a table of texts.")
        return tuple(value.items())

    def named(self, key: str) -> list[tuple[str, Table]]:
        """The tables of `[key.NAME]` with their names, none if absent."""
        value = self._rows.pop(key, {})
        if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
            raise CatalogError(f"{self._where}: {key} must be written as [{key}.NAME] tables.")
        return [(name, Table(f"{self._where}, [{key}.{name}]", one)) for name, one in value.items()]

    def keys(self) -> tuple[str, ...]:
        """The keys not asked for yet."""
        return tuple(self._rows)

    def end(self) -> None:
        """Nothing more is known: a key that is left is a mistake."""
        if self._rows:
            raise CatalogError(
                f"{self._where}: the key {next(iter(self._rows))} is not known; see the README there."
            )
