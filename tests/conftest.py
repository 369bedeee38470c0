"""Fixtures of the whole suite."""

from real import images, place, ported

__all__ = ["images", "place", "ported"]
