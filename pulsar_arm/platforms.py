"""aarch64 = arm64 = aarch_64 = EM_AARCH64 183: the one table of how a machine is spelled where."""

from __future__ import annotations

from dataclasses import dataclass

from pulsar_arm.errors import UsageError


@dataclass(frozen=True, slots=True)
class Platform:
    """A Linux machine, in the spelling of everyone who names it."""

    name: str
    """What `uname -m`, Java's os.arch on Linux and our text say: `aarch64`."""
    oci: str
    """The `architecture` of the OCI image-spec (Go's GOARCH): `arm64`."""
    debian: str
    """dpkg's architecture: `arm64`."""
    elf_machine: int
    """`e_machine` of the ELF header (System V gABI)."""
    triplet: str
    """The multiarch folder under /usr/lib (GNU triplet)."""
    loader: str
    """The dynamic loader's path for glibc (`PT_INTERP`)."""
    qemu: str
    """The suffix of qemu-user's program: `qemu-aarch64-static`."""
    classifier: str
    """Of a Maven artifact built for it, as os-maven-plugin writes it: `linux-aarch_64`."""
    spellings: tuple[str, ...]
    """Every spelling met in file and folder names inside jars, lower case."""

    @property
    def oci_platform(self) -> str:
        """`os/architecture` as docker's `--platform` takes it."""
        return f"linux/{self.oci}"


AARCH64 = Platform(
    name="aarch64",
    oci="arm64",
    debian="arm64",
    elf_machine=183,
    triplet="aarch64-linux-gnu",
    loader="/lib/ld-linux-aarch64.so.1",
    qemu="aarch64",
    classifier="linux-aarch_64",
    spellings=("aarch64", "aarch_64", "arm64"),
)
X86_64 = Platform(
    name="x86_64",
    oci="amd64",
    debian="amd64",
    elf_machine=62,
    triplet="x86_64-linux-gnu",
    loader="/lib64/ld-linux-x86-64.so.2",
    qemu="x86_64",
    classifier="linux-x86_64",
    spellings=("x86_64", "x86-64", "amd64", "linux64"),
)
PLATFORMS = (AARCH64, X86_64)


def platform(spelling: str) -> Platform:
    """The platform of any of its spellings, also `linux/arm64`; UsageError names the known ones."""
    wanted = spelling.lower().removeprefix("linux/")
    for one in PLATFORMS:
        if wanted in {one.name, one.oci, *one.spellings}:
            return one
    known = ", ".join(one.name for one in PLATFORMS)
    raise UsageError(f"Unknown machine {spelling!r}: choose one of {known}.")
