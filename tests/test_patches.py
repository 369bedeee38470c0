from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from builders_classfile import EQUALS, MATCHES, PRESTO, MadeClass, made_presto

from pulsar_arm.errors import CatalogError
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.patches import (
    Applicable,
    ClassPatch,
    TextPatch,
    Unknown,
    Unnecessary,
    apply,
    load_patches,
    state,
)
from pulsar_arm.requirements import read_requirements

SHIPPED = Path(__file__).parent.parent / "patches"
AMD64 = ['ldc "amd64"', "aload_3", EQUALS]
BOTH = ["aload_3", 'ldc "amd64|aarch64"', MATCHES]
OLD_CLASS = made_presto(AMD64).build()
SCRIPT = b"#!/usr/bin/env python\nconf = load(one)\nmore = load(two)\n"
FIXED = b"#!/usr/bin/env python\nconf = safe(one)\nmore = safe(two)\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def class_toml(result: str = "", accepts: str = sha256(OLD_CLASS)) -> str:
    """A patch of the made class; without a result the right one is found by asking."""
    return f"""
schema = 1
kind = "class"
summary = "aarch64 is accepted"
class = "{PRESTO.replace("/", ".")}"
artifact = "presto-main"
os_arch = "aarch64"
source_diff = "p.patch"
[[revision]]
versions = ["0.1"]
accepts = "{accepts}"
result = "{result or "0" * 64}"
[[edit]]
why = "it runs there"
method = "verifyJvmRequirements()V"
find = {AMD64}
replace = {BOTH}
"""


def text_toml() -> str:
    return f"""
schema = 1
kind = "text"
summary = "it loads"
file = "x.py"
unless = "Loader="
[[revision]]
versions = ["2.6.0"]
accepts = "{sha256(SCRIPT)}"
result = "{sha256(FIXED)}"
[[edit]]
why = "load is gone"
find = "= load("
replace = "= safe("
count = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.patch").write_text("--- a\n+++ b\n")
    return tmp_path


@pytest.fixture
def class_patch(folder: Path) -> ClassPatch:
    (folder / "c.toml").write_text(class_toml())
    (wrong,) = load_patches(folder)
    with pytest.raises(CatalogError, match=r"has SHA-256 [0-9a-f]{64}, not the result") as told:
        apply(wrong, OLD_CLASS)
    (folder / "c.toml").write_text(class_toml(str(told.value).split("SHA-256 ")[1][:64]))
    (patch,) = (one for one in load_patches(folder) if isinstance(one, ClassPatch))
    return patch


@pytest.fixture
def text_patch(folder: Path) -> TextPatch:
    (folder / "t.toml").write_text(text_toml())
    (patch,) = (one for one in load_patches(folder) if isinstance(one, TextPatch))
    return patch


def test_a_class_patch_makes_the_class_accept_the_machine(class_patch: ClassPatch) -> None:
    patched = apply(class_patch, OLD_CLASS)
    found = read_requirements(patched)
    assert found is not None
    assert found.accepts == ("amd64", "aarch64")
    assert class_patch.entry == f"{PRESTO}.class"
    assert class_patch.source_diff.name == "p.patch"


def test_patching_twice_equals_patching_once(class_patch: ClassPatch, text_patch: TextPatch) -> None:
    for patch, content in ((class_patch, OLD_CLASS), (text_patch, SCRIPT)):
        once = apply(patch, content)
        assert once != content
        assert state(patch, once) == Unnecessary("it is patched already")
        assert apply(patch, once) == once


def test_a_class_that_accepts_the_machine_needs_no_patch(class_patch: ClassPatch) -> None:
    accepts = made_presto(["aload_3", 'ldc "aarch64|ppc64le"', MATCHES]).build()
    assert state(class_patch, accepts) == Unnecessary("it accepts aarch64 already")
    assert apply(class_patch, accepts) == accepts


def test_a_class_that_refuses_nothing_needs_no_patch(class_patch: ClassPatch) -> None:
    assert state(class_patch, MadeClass().build()) == Unnecessary("it refuses no machine")


def test_a_class_the_patch_does_not_know_is_refused_with_a_sentence(class_patch: ClassPatch) -> None:
    other = made_presto(['ldc "sparc"', "aload_3", EQUALS]).build()
    verdict = state(class_patch, other)
    assert isinstance(verdict, Unknown)
    assert sha256(other) in verdict.reason
    assert "only that of 0.1" in verdict.reason
    with pytest.raises(CatalogError, match=r"^c\.toml does not know this"):
        apply(class_patch, other)


def test_bytes_that_are_no_class_are_refused_with_a_sentence(class_patch: ClassPatch) -> None:
    verdict = state(class_patch, b"no class")
    assert isinstance(verdict, Unknown)
    assert "not a Java class file" in verdict.reason


def test_a_script_is_patched(text_patch: TextPatch) -> None:
    assert isinstance(state(text_patch, SCRIPT), Applicable)
    assert apply(text_patch, SCRIPT) == FIXED


def test_a_script_that_shows_it_needs_no_patch_is_left(text_patch: TextPatch) -> None:
    assert state(text_patch, b"load(one, Loader=Full)") == Unnecessary("it has Loader= already")


def test_a_script_the_patch_does_not_know_is_refused(text_patch: TextPatch) -> None:
    verdict = state(text_patch, SCRIPT + b"#")
    assert isinstance(verdict, Unknown)
    assert verdict.reason.startswith("t.toml does not know this x.py (SHA-256 ")


def test_a_text_that_occurs_more_or_less_often_is_refused(folder: Path) -> None:
    (folder / "t.toml").write_text(text_toml().replace("count = 2", "count = 1"))
    (patch,) = load_patches(folder)
    with pytest.raises(CatalogError, match=r"t\.toml, \[\[edit\]\] 1: find occurs 2 times in x\.py, not 1"):
        apply(patch, SCRIPT)


def test_an_edit_that_does_not_fit_the_class_names_its_place(folder: Path) -> None:
    (folder / "c.toml").write_text(class_toml().replace("amd64\"', 'aload_3'", "sparc\"', 'aload_3'"))
    (patch,) = load_patches(folder)
    with pytest.raises(
        CatalogError, match=r"c\.toml, \[\[edit\]\] 1: the instructions to find occur 0 times"
    ):
        apply(patch, OLD_CLASS)


@pytest.mark.parametrize(
    ("make", "old", "new", "words"),
    [
        (class_toml, "schema = 1", "schema = 2", r"c\.toml: schema must be 1"),
        (class_toml, 'kind = "class"', 'kind = "jar"', "kind is 'jar', but must be one of class, text"),
        (class_toml, "summary", "sumary", "summary must be a text"),
        (class_toml, 'artifact = "presto-main"', 'artifact = "a"\nextra = 1', "the key extra is not known"),
        (class_toml, PRESTO.replace("/", "."), PRESTO, "class must have the form"),
        (class_toml, "p.patch", "q.patch", "source_diff names q.patch, which is no file"),
        (class_toml, "p.patch", "../p.patch", "source_diff names ../p.patch"),
        (class_toml, "[[revision]]", "[[revisions]]", "at least one"),
        (class_toml, 'result = "0', 'result = "X', r"\[\[revision\]\] 1: result must have the form"),
        (class_toml, 'versions = ["0.1"]', "versions = []", r"\[\[revision\]\] 1: versions must be a list"),
        (class_toml, "verifyJvmRequirements()V", "verifyJvmRequirements", "method must have the form"),
        (class_toml, "aload_3", "aload_9", "'aload_9' does not begin with an instruction"),
        (class_toml, "why", "how", r"\[\[edit\]\] 1: why must be a text"),
        (text_toml, "count = 2", "count = 0", r"t\.toml, \[\[edit\]\] 1: count must be 1 or more"),
        (text_toml, "safe(", "load(", "replace another text than find"),
        (text_toml, "[[edit]]", "[[edit", "cannot be read"),
    ],
)
def test_a_patch_file_with_a_mistake_names_file_and_key(
    folder: Path, make: Callable[[], str], old: str, new: str, words: str
) -> None:
    assert old in make()
    (folder / ("c.toml" if make is class_toml else "t.toml")).write_text(make().replace(old, new, 1))
    with pytest.raises(CatalogError, match=words):
        load_patches(folder)


def test_two_patches_for_the_same_bytes_are_refused(folder: Path) -> None:
    (folder / "one.toml").write_text(text_toml())
    (folder / "two.toml").write_text(text_toml())
    with pytest.raises(CatalogError, match=r"two\.toml: accepts .* is known to one\.toml as well"):
        load_patches(folder)


def test_the_shipped_patches_load() -> None:
    names = {patch.name for patch in load_patches(SHIPPED)}
    assert names == {"gen-yml-from-env-safe-load", "presto-main-0.206-aarch64"}


def test_each_patch_beside_a_toml_is_named_by_one() -> None:
    named = {patch.source_diff for patch in load_patches(SHIPPED) if isinstance(patch, ClassPatch)}
    assert named == set(SHIPPED.glob("*.patch"))


@pytest.fixture(scope="module")
def repository() -> Repository:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Repository(caches / "pulsar-arm", progress=Silent())


def presto_patch() -> ClassPatch:
    (patch,) = (one for one in load_patches(SHIPPED) if isinstance(one, ClassPatch))
    return patch


@pytest.mark.real
def test_the_source_diff_applies_to_the_released_source(repository: Repository, tmp_path: Path) -> None:
    program = shutil.which("patch")
    if program is None:
        pytest.skip("the program patch is not installed")
    sources = Coordinate.parse("com.facebook.presto:presto-main:0.206:jar:sources")
    name = f"{PRESTO}.java"
    place = tmp_path / name
    place.parent.mkdir(parents=True)
    place.write_bytes(repository.read_entries(sources, [name])[name])
    command = [program, "-p5", "--fuzz=0", "-i", str(presto_patch().source_diff)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "offset" not in done.stdout
    assert '!osArch.matches("amd64|aarch64")' in place.read_text()


@pytest.mark.real
def test_the_shipped_script_patch_fits_the_releases(repository: Repository) -> None:
    (patch,) = (one for one in load_patches(SHIPPED) if isinstance(one, TextPatch))
    name = f"pulsar/docker/pulsar/scripts/{patch.file}"
    for version in ("2.6.0", "2.10.1"):
        source = Coordinate.parse(f"org.apache.pulsar:pulsar:{version}:zip:source-release")
        patched = apply(patch, repository.read_entries(source, [name])[name])
        compile(patched, name, "exec")
        assert b"yaml.load(" not in patched


def made_checker() -> bytes:
    """A program that pretends the machine and vendor of its arguments, then asks Presto."""
    set_property = (
        "invokestatic java/lang/System.setProperty:(Ljava/lang/String;Ljava/lang/String;)Ljava/lang/String;"
    )
    code = []
    for number, name in enumerate(("os.arch", "java.vendor")):
        code += [f'ldc "{name}"', "aload_0", f"iconst_{number}", "aaload", set_property, "pop"]
    code += [f"invokestatic {PRESTO}.verifyJvmRequirements:()V", "return"]
    made = MadeClass("com/facebook/presto/server/Checker")
    return made.method("main([Ljava/lang/String;)V", code).build()


@pytest.mark.real
def test_a_verifying_jvm_loads_the_patched_class_and_it_refuses_what_it_should(
    repository: Repository, tmp_path: Path
) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("no JVM is installed")
    patch = presto_patch()
    coordinates = (
        "com.facebook.presto:presto-main:0.206",
        "com.google.guava:guava:25.1-jre",
        "io.airlift:slice:0.35",
    )
    jars = [str(repository.fetch(Coordinate.parse(one)).path) for one in coordinates]
    released = repository.read_entries(Coordinate.parse(coordinates[0]), [patch.entry])[patch.entry]
    for folder, content in (("released", released), ("patched", apply(patch, released))):
        place = tmp_path / folder / patch.entry
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        place.with_name("Checker.class").write_bytes(made_checker())

    def refusal(folder: str, machine: str, vendor: str) -> str:
        """What `failRequirement` says; the self test of slice behind it may fail on a JVM that is not 8."""
        path = os.pathsep.join([str(tmp_path / folder), *jars])
        command = [java, "-Xverify:all", "-cp", path, "com.facebook.presto.server.Checker", machine, vendor]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert "VerifyError" not in done.stderr
        assert "ClassFormatError" not in done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("Presto requires")]
        assert (done.returncode == 100) == bool(said)
        assert said or done.returncode == 0 or "verifySlice" in done.stderr
        return said[0] if said else ""

    assert refusal("patched", "aarch64", "Debian") == ""
    assert refusal("patched", "amd64", "Oracle Corporation") == ""
    assert (
        refusal("patched", "ppc64le", "Debian") == "Presto requires x86-64 or amd64 on Linux (found ppc64le)"
    )
    assert (
        refusal("released", "aarch64", "Debian") == "Presto requires an Oracle or OpenJDK JVM (found Debian)"
    )
    message = refusal("released", "aarch64", "Oracle Corporation")
    assert message == "Presto requires x86-64 or amd64 on Linux (found aarch64)"
