"""Make text of unknown origin safe to show: names in archives may hold whatever drives a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with everything invisible spelled out, as `\x1b` for an escape and `\u202e` for a turn.

    Control and format characters, lone surrogates (bytes of a name that are no UTF-8), unassigned and
    private ones, and every blank but the space are what Unicode calls not printable.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
