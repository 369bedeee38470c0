from __future__ import annotations

import pytest

from pulsar_arm.errors import UsageError
from pulsar_arm.platforms import AARCH64, X86_64, platform


@pytest.mark.parametrize("spelling", ["aarch64", "arm64", "aarch_64", "ARM64", "linux/arm64"])
def test_every_spelling_of_aarch64_is_the_same_machine(spelling: str) -> None:
    assert platform(spelling) is AARCH64


@pytest.mark.parametrize("spelling", ["x86_64", "amd64", "x86-64", "linux/amd64"])
def test_every_spelling_of_x86_64_is_the_same_machine(spelling: str) -> None:
    assert platform(spelling) is X86_64


def test_an_unknown_machine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"Unknown machine 'vax': choose one of aarch64, x86_64\."):
        platform("vax")


def test_the_words_of_others_for_aarch64() -> None:
    assert (AARCH64.oci_platform, AARCH64.debian, AARCH64.elf_machine) == ("linux/arm64", "arm64", 183)
