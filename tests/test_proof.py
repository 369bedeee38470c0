from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import X86_64, jar_bytes, tarball
from builders_linkage import NATIVE, PUBLIC, Class, class_jar, jni_library

from pulsar_arm.catalog import load_catalog
from pulsar_arm.errors import HostError, UnresolvedGapError
from pulsar_arm.formats.jar import entry_names
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.options import Options
from pulsar_arm.pipeline import Pipeline
from pulsar_arm.plan import Outcome, Plan, Resolved, Tolerated, Unresolved

ARM, X86 = "native/arm.so", "native/x86.so"
OLD, USER = "lib/org.made-db-1.0.jar", "lib/user.jar"
HEAD = """
schema = 1
summary = "made"
[[loader]]
machine = "aarch64"
libc = "*"
names = ["native/arm.so"]
[[severity]]
level = "{level}"
reason = "it stops"
evidence = "made"
"""
ROW = """
[[remedy]]
action = "{action}"
with = "{coordinate}"
sha256 = "{sha256}"
licence = "Apache-2.0"
why = "made"
"""
TOLERATE = '[[remedy]]\naction = "tolerate"\nwhy = "it falls back"\n'
EXPORTS = ["Java_db_Store_put"]
PUT = {"put(I)V": PUBLIC | NATIVE}
OLD_JAR = class_jar(
    Class("db/Store", declares={"get()V": PUBLIC, **PUT}), files={X86: jni_library(EXPORTS, machine=X86_64)}
)
CALLER = class_jar(Class("app/User", uses=["db/Store.get:()V"]))
GOOD = class_jar(Class("db/Store", declares={"get()V": PUBLIC, **PUT}), files={ARM: jni_library(EXPORTS)})
LESSER = class_jar(Class("db/Store", declares=PUT), files={ARM: jni_library(EXPORTS)})
LACKS = f"org.made:db:1.1 was refused: app/User in {USER} needs db/Store.get:()V, which is gone"


@dataclass
class World:
    """A distribution with one library, its override, and a cache that holds what is offered."""

    place: Path
    files: Mapping[str, bytes]
    level: str = "fatal"

    def __post_init__(self) -> None:
        self.rows = ""
        top = {f"top/{name}": content for name, content in {**self.files, "README": b""}.items()}
        self.source = tarball(self.place / "x.tar", top)

    def offers(self, content: bytes, version: str, action: str = "replace", *, here: bool = True) -> None:
        coordinate = Coordinate("org.made", "db", version)
        digest = hashlib.sha256(content).hexdigest()
        self.rows += ROW.format(action=action, coordinate=coordinate, sha256=digest)
        if here:
            path = self.place / "cache" / "maven" / coordinate.path
            path.parent.mkdir(parents=True)
            path.write_bytes(content)

    @property
    def pipeline(self) -> Pipeline:
        folder = self.place / "overrides"
        folder.mkdir(exist_ok=True)
        (folder / "db.toml").write_text(HEAD.format(level=self.level) + self.rows)
        made = Options(
            verbose=False, quiet=True, offline=True, maven_url=None, cache=self.place / "cache"
        ).pipeline()
        return Pipeline(
            made.repository,
            load_catalog(folder),
            (),
            made.target,
            made.cache,
            made.progress,
            offline=True,
        )

    def proven(self, *, graft: bool = False, fetch: bool = True) -> Plan:
        source = self.pipeline.open(str(self.source))
        return self.pipeline.prove(source, self.pipeline.scan(source, graft=graft), graft=graft, fetch=fetch)

    def outcome(self, *, graft: bool = False, fetch: bool = True) -> Outcome:
        (verdict,) = self.proven(graft=graft, fetch=fetch).verdicts
        return verdict.outcome

    def port(self, *, graft: bool = False, allow: bool = False) -> dict[str, bytes]:
        source, out = self.pipeline.open(str(self.source)), self.place / "out.tar"
        self.pipeline.port(source, self.proven(graft=graft), out, allow_unresolved=allow)
        return {
            member.path.removeprefix("top/"): content.read()
            for member, content in read_tar(out)
            if content is not None
        }

    def receipt(self) -> dict[str, object]:
        told: dict[str, object] = json.loads((self.place / "out.tar.receipt.json").read_text())
        return told


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, {OLD: OLD_JAR, USER: CALLER})


def test_what_links_is_said_to_link(world: World) -> None:
    world.offers(GOOD, "1.1")
    outcome = world.outcome()
    assert isinstance(outcome, Resolved)
    assert outcome.linked
    assert world.port()[OLD] == GOOD


def test_an_override_that_does_not_link_here_leaves_the_gap_unresolved_and_nothing_is_written(
    world: World,
) -> None:
    world.offers(LESSER, "1.1")
    assert world.outcome() == Unresolved(LACKS)
    with pytest.raises(UnresolvedGapError, match=r"app/User in lib/user.jar needs db/Store.get:\(\)V"):
        world.port()
    assert not (world.place / "out.tar").exists()


def test_the_first_remedy_that_meets_no_objection_is_taken(world: World) -> None:
    world.offers(LESSER, "1.1")
    world.offers(GOOD, "1.2")
    outcome = world.outcome()
    assert isinstance(outcome, Resolved)
    assert [getattr(action, "coordinate", "") for action in outcome.actions] == ["org.made:db:1.2"]


def test_what_may_stay_stays_when_no_remedy_links_and_says_why(world: World) -> None:
    world.offers(LESSER, "1.1")
    world.rows += TOLERATE
    assert world.outcome() == Tolerated(f"it falls back; {LACKS}")


def test_an_unresolved_gap_is_written_when_that_is_asked_for_and_the_receipt_says_so(world: World) -> None:
    world.offers(LESSER, "1.1")
    assert world.port(allow=True)[OLD] == OLD_JAR
    told = world.receipt()
    assert told["complete"] is False
    assert told["verdicts"] == [
        {
            "library": "db",
            "version": "1.0",
            "scope": "lib",
            "severity": "fatal",
            "verdict": "unresolved",
            "reason": LACKS,
        }
    ]


def test_a_dry_run_links_what_is_in_the_cache_and_fetches_nothing(world: World) -> None:
    world.offers(GOOD, "1.1", here=False)
    outcome = world.outcome(fetch=False)
    assert isinstance(outcome, Resolved)
    assert not outcome.linked
    with pytest.raises(HostError):
        world.outcome()


def test_a_graft_is_taken_only_on_request_until_it_is_proven(world: World) -> None:
    world.offers(GOOD, "1.1", "graft")
    world.rows += TOLERATE
    assert world.outcome() == Tolerated("it falls back")
    outcome = world.outcome(graft=True)
    assert isinstance(outcome, Resolved)
    assert outcome.linked
    world.rows = world.rows.replace('why = "made"', 'why = "made"\nproof = "it ran"')
    assert world.outcome() == outcome


def test_a_graft_changes_the_old_jar_by_one_entry_and_no_gap_is_left(world: World) -> None:
    world.offers(GOOD, "1.1", "graft")
    ported = world.port(graft=True)[OLD]
    assert entry_names(ported) == ["db/Store.class", X86, ARM]
    (row,) = world.receipt()["actions"]  # type: ignore[misc]
    assert (row["action"], row["location"], row["origin"], row["origin_sha256"]) == (
        "graft",
        f"{OLD}!/{ARM}",
        "org.made:db:1.1",
        hashlib.sha256(GOOD).hexdigest(),
    )
    (bill,) = (
        one
        for one in json.loads((world.place / "out.tar.cdx.json").read_text())["components"]
        if one["bom-ref"] == OLD
    )
    assert bill["version"] == "1.0"
    assert bill["pedigree"]["notes"] == f"the same but for {ARM}"
    again = world.pipeline.scan(world.pipeline.open(str(world.place / "out.tar")))
    assert again.verdicts == ()


def test_a_graft_whose_library_registers_what_the_old_classes_lack_is_refused(world: World) -> None:
    so = jni_library([*EXPORTS, "JNI_OnLoad"], [("sync", "()V")])
    world.offers(class_jar(files={ARM: so}), "1.1", "graft")
    refused = "org.made:db:1.1 was refused: its library registers sync:()V, which no class declares"
    assert world.outcome(graft=True) == Unresolved(refused)


def test_what_was_accepted_before_is_in_its_place_when_the_next_is_judged(tmp_path: Path) -> None:
    """The second library's new version needs a class that only the first one's new version has."""
    new = class_jar(
        Class("db/Store", declares={"get()V": PUBLIC, **PUT}, uses=["net/Fresh"]),
        files={ARM: jni_library(EXPORTS)},
    )
    net = class_jar(Class("net/Wire"), files={X86: jni_library(machine=X86_64)})
    files = {OLD: OLD_JAR, "lib/org.made-aaa-1.0.jar": net}
    world = World(tmp_path, files)
    world.offers(new, "1.1")
    fresh = class_jar(Class("net/Wire"), Class("net/Fresh"), files={ARM: jni_library()})
    digest = hashlib.sha256(fresh).hexdigest()
    path = tmp_path / "cache" / "maven" / "org/made/aaa/1.1/aaa-1.1.jar"
    path.parent.mkdir(parents=True)
    path.write_bytes(fresh)
    (tmp_path / "overrides").mkdir()
    row = ROW.format(action="replace", coordinate="org.made:aaa:1.1", sha256=digest)
    (tmp_path / "overrides" / "aaa.toml").write_text(HEAD.format(level="fatal") + row)
    assert [type(one.outcome) for one in world.proven().verdicts] == [Resolved, Resolved]
    path.unlink()
    (tmp_path / "overrides" / "aaa.toml").write_text(HEAD.format(level="fatal") + TOLERATE)
    (_aaa, db) = world.proven().verdicts
    assert isinstance(db.outcome, Unresolved)
    assert "net/Fresh, which is nowhere in the class path" in db.outcome.reason


def test_libraries_inside_a_nar_are_linked_against_what_lies_in_it(tmp_path: Path) -> None:
    nar = jar_bytes({"META-INF/bundled-dependencies/db-1.0.jar": OLD_JAR, "META-INF/u.jar": CALLER})
    world = World(tmp_path, {"connectors/x.nar": nar, USER: CALLER})
    world.offers(LESSER, "1.1")
    outcome = world.outcome()
    assert isinstance(outcome, Unresolved)
    assert "app/User in connectors/x.nar!/META-INF/u.jar needs db/Store.get:()V" in outcome.reason
