"""Let apt, set up by mmdebstrap, choose and download Debian packages of any architecture; none is run."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pulsar_arm.errors import HostError
from pulsar_arm.host.process import run

_INSTALL = "apt-get install --no-install-recommends mmdebstrap"
_LATER_SUITE_PRIORITY = 100
# apt prefers the higher number and gives 500 to what has none: at 100 a suite serves what the others lack.


def download_packages(
    packages: Sequence[str],
    suites: Sequence[str],
    architecture: str,
    folder: Path,
    *,
    mirror: str | None = None,
    apt_options: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Download `packages` and all they depend on as .deb files into `folder`, an existing one.

    The first of `suites` is the base; each later one serves only what the earlier ones lack. apt checks
    the archive's signatures with the keys of this machine. `mirror` replaces the default one of Debian
    (whose updates and security archives mmdebstrap adds by itself). Needs neither root nor emulation:
    of mmdebstrap's work only the setting up of apt is used, nothing is unpacked. HostError with apt's
    own last words when something is missing.
    """
    if shutil.which("mmdebstrap") is None:
        raise HostError(f"mmdebstrap is not installed: as root, run `{_INSTALL}`.")
    install = shlex.join(["apt-get", "--yes", "--download-only", "install", *packages])
    fetch = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {install}'
    store = f'cp "$1"/var/cache/apt/archives/*.deb {shlex.quote(str(folder))}/'
    argv = [
        "mmdebstrap",
        "--mode=chrootless",
        "--variant=extract",
        "--format=null",
        f"--architectures={architecture}",
        # Nothing of the target is run, so neither emulation nor a fakeroot that guards the host is needed.
        "--skip=check/qemu,check/chrootless,chroot/mount",
        *(f"--aptopt={option}" for option in ('APT::Install-Recommends "false"', *apt_options)),
        *(f"--setup-hook={_add_suite(suites[0], later)}" for later in suites[1:]),
        f"--extract-hook={fetch} && {store}",
        suites[0],
        "/dev/null",
        *([mirror] if mirror else []),
    ]
    # Beside the result, so that even a killed mmdebstrap leaves its files in a folder the caller removes.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="apt-") as scratch:
        finished = run(argv, ok=None, env={"TMPDIR": scratch, "LC_ALL": "C.UTF-8"})
    if finished.returncode != 0:
        reason = _reason(finished.stderr.decode(errors="replace"))
        raise HostError(
            f"Debian's packages for {architecture} could not be downloaded: {reason} "
            "Check the network, the proxy and the mirror, then run again."
        )
    return tuple(sorted(folder.glob("*.deb")))


def _add_suite(first: str, later: str) -> str:
    """A hook that gives apt the suite `later` from the very mirror that mmdebstrap wrote for `first`."""
    sources = '"$1/etc/apt/sources.list'
    pin = f"Package: *\\nPin: release n={later}\\nPin-Priority: {_LATER_SUITE_PRIORITY}\\n"
    return (
        f"grep -m1 ' {first} ' {sources}\" | sed 's/ {first} / {later} /' > {sources}.d/{later}.list\" "
        f"&& printf '{pin}' > \"$1/etc/apt/preferences.d/{later}\""
    )


def _reason(stderr: str) -> str:
    """The first error of apt: the cause; what follows, mmdebstrap's own included, are its consequences."""
    errors = [line.removeprefix("E: ") for line in stderr.splitlines() if line.startswith("E: ")]
    if not errors:
        return "mmdebstrap said nothing."
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{errors[0].rstrip('. ')}{more}."
