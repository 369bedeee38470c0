"""Every failure a user can meet: one family, one exit code each, one sentence of words.

A message says what is wrong, where (file, entry, key) and what to do next. The exit codes are the
contract of the README's table; 1 is not an error but the answer "no", and 130 is an interruption.
"""

from __future__ import annotations


class PulsarArmError(Exception):
    """Base of the family; `str()` is the sentence shown to the user."""

    exit_code = 1


class UsageError(PulsarArmError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class InputError(PulsarArmError):
    """The input, or a part of it, cannot be read."""

    exit_code = 3


class CatalogError(PulsarArmError):
    """A file of jar_overrides, patches, dockerfiles or data is wrong."""

    exit_code = 4


class UnresolvedGapError(PulsarArmError):
    """A fatal or feature gap that nothing in the catalog resolves or tolerates."""

    exit_code = 5


class BuildError(PulsarArmError):
    """An engine could not make the image."""

    exit_code = 6


class HostError(PulsarArmError):
    """The host or the network lacks something: a tool, a release, space, a permission."""

    exit_code = 7
