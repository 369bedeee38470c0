from __future__ import annotations

import platform as machine
import re
import shutil
from pathlib import Path

import pytest
from builders_base import shared_library

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.emulation import Emulator, find_emulator, jvm_folders, load_library
from pulsar_arm.platforms import AARCH64, PLATFORMS, X86_64, Platform, platform

HERE = platform(machine.machine())
OTHER = next(one for one in PLATFORMS if one is not HERE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's own loader, C library and `true`: the smallest image that loads something."""
    root = tmp_path_factory.mktemp("root").resolve()
    libc = re.search(r"/\S*/libc\.so\.6$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    assert libc is not None
    files = {
        HERE.loader: HERE.loader,
        f"/usr/lib/{HERE.triplet}/libc.so.6": libc[0],
        "/usr/bin/true": "/bin/true",
    }
    for place, origin in files.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, target)
    return root


def write(folder: Path, content: bytes, name: str = "libx.so") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_library_that_fits_the_root_is_accepted_with_what_it_took(root: Path, tmp_path: Path) -> None:
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libc.so.6"], symbol="malloc"))
    result = load_library(Emulator(HERE, ""), root, library)
    assert result.words == ()
    assert result.accepted
    assert dict(result.resolved)["libc.so.6"] == f"/usr/lib/{HERE.triplet}/libc.so.6"


def test_a_missing_library_is_named(root: Path, tmp_path: Path) -> None:
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libc.so.6", "libnowhere.so.7"]))
    result = load_library(Emulator(HERE, ""), root, library)
    assert not result.accepted
    assert "libnowhere.so.7" in " ".join(result.words)


def test_a_library_that_only_this_machine_has_is_refused(root: Path, tmp_path: Path) -> None:
    # libm is in every Linux system's default folders, but not in this root.
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libm.so.6"]))
    result = load_library(Emulator(HERE, ""), root, library)
    assert not result.accepted
    assert re.search(r"libm\.so\.6.*(outside of the root|not found)", " ".join(result.words))


def test_a_newer_glibc_is_named(root: Path, tmp_path: Path) -> None:
    content = shared_library(HERE.elf_machine, ["libc.so.6"], version=("libc.so.6", "GLIBC_9.99"))
    result = load_library(Emulator(HERE, ""), root, write(tmp_path, content))
    assert not result.accepted
    assert "GLIBC_9.99" in " ".join(result.words)


def test_a_missing_symbol_is_named(root: Path, tmp_path: Path) -> None:
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libc.so.6"], symbol="JNI_NobodyHasThis"))
    result = load_library(Emulator(HERE, ""), root, library)
    assert not result.accepted
    assert "JNI_NobodyHasThis" in " ".join(result.words)


def test_a_symbol_of_the_jvm_is_no_failure(root: Path, tmp_path: Path) -> None:
    # This machine's libm stands in for libjvm.so: only it has `cbrt`, and the library does not ask for it.
    whole = tmp_path / "whole"
    shutil.copytree(root, whole, symlinks=True)
    server = whole / "opt/jvm/lib/server"
    server.mkdir(parents=True)
    libc = re.search(r"/\S*/libc\.so\.6$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    assert libc is not None
    shutil.copy(Path(libc[0]).with_name("libm.so.6"), server / "libjvm.so")
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libc.so.6"], symbol="cbrt"))
    assert not load_library(Emulator(HERE, ""), whole, library).accepted
    search = jvm_folders(whole, "/opt/jvm")
    assert load_library(Emulator(HERE, ""), whole, library, search).words == ()


@pytest.mark.parametrize("content", [b"", b"not an ELF file at all, but long enough to be looked at" * 9])
def test_garbage_is_refused_with_words(root: Path, tmp_path: Path, content: bytes) -> None:
    result = load_library(Emulator(HERE, ""), root, write(tmp_path, content))
    assert not result.accepted
    assert result.words


def test_a_library_for_another_machine_is_refused_with_words(root: Path, tmp_path: Path) -> None:
    library = write(tmp_path, shared_library(OTHER.elf_machine, ["libc.so.6"]))
    result = load_library(Emulator(HERE, ""), root, library)
    assert not result.accepted
    assert result.words


def test_a_library_that_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no library .*gone\.so"):
        load_library(Emulator(HERE, ""), root, tmp_path / "gone.so")


def test_a_root_without_a_loader_is_said(tmp_path: Path) -> None:
    library = write(tmp_path, shared_library(HERE.elf_machine))
    with pytest.raises(InputError, match=re.escape(HERE.loader)):
        load_library(Emulator(HERE, ""), tmp_path, library)


def test_a_folder_whose_name_the_loader_would_split_is_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    library = write(folder, shared_library(HERE.elf_machine))
    with pytest.raises(HostError, match="without spaces and colons"):
        load_library(Emulator(HERE, ""), root, library)


def test_an_absolute_link_inside_the_root_stays_inside(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    shutil.copytree(root, linked, symlinks=True)
    loader = linked / HERE.loader.lstrip("/")
    loader.rename(linked / "usr/lib/the-loader")
    loader.symlink_to("/usr/lib/the-loader")
    library = write(tmp_path, shared_library(HERE.elf_machine, ["libc.so.6"]))
    assert load_library(Emulator(HERE, ""), linked, library).accepted


@pytest.mark.parametrize(
    ("home", "library"),
    [
        ("/usr/lib/jvm/java-8-openjdk-arm64", "jre/lib/aarch64/server/libjvm.so"),
        ("/opt/jvm", "lib/server/libjvm.so"),
    ],
)
def test_the_folders_of_a_jvm_are_found(tmp_path: Path, home: str, library: str) -> None:
    place = tmp_path / home.lstrip("/") / library
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    server = f"{home}/{library}".removesuffix("/libjvm.so")
    assert jvm_folders(tmp_path.resolve(), home) == (server, server.removesuffix("/server"))


def test_a_root_without_java_has_no_jvm_folders(tmp_path: Path) -> None:
    assert jvm_folders(tmp_path, "/opt/jvm") == ()


def test_this_machine_needs_no_emulator() -> None:
    emulator = find_emulator(HERE)
    assert emulator.native
    assert emulator.description == f"natively on {HERE.name}"


def test_a_missing_emulator_is_said_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="qemu-user-static"):
        find_emulator(OTHER)


@pytest.mark.parametrize("target", [AARCH64, X86_64])
def test_qemu_is_told_root_and_settings_by_option(target: Platform, tmp_path: Path) -> None:
    program = f"/usr/bin/qemu-{target.qemu}-static"
    before, env = Emulator(target, program).command(tmp_path, [("LD_BIND_NOW", "1")])
    assert before == (program, "-L", str(tmp_path), "-U", "LD_LIBRARY_PATH", "-E", "LD_BIND_NOW=1")
    assert env == {}
