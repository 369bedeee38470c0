"""A remedy is found in a repository, judged, and written down: by `catalog add` and `port --resolve`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import X86_64, pom, tarball
from builders_linkage import NATIVE, PUBLIC, Class, class_jar, jni_library
from builders_maven import Server, maven_server
from click.testing import CliRunner, Result

from pulsar_arm.catalog import load_catalog
from pulsar_arm.cli import cli
from pulsar_arm.errors import CatalogError, HostError, UnresolvedGapError, UsageError
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.search import MOST_JUDGED

ARM, X86 = "native/arm.so", "native/x86.so"
EXPORTS = ["Java_db_Store_put"]
WHOLE = Class("db/Store", declares={"get()V": PUBLIC, "put(I)V": PUBLIC | NATIVE})
LESS = Class("db/Store", declares={"put(I)V": PUBLIC | NATIVE})
ON_X86 = {X86: jni_library(EXPORTS, machine=X86_64)}
ON_BOTH = {**ON_X86, ARM: jni_library(EXPORTS)}
OLD = class_jar(WHOLE, files={**ON_X86, **pom("db", "1.1.0")})
CALLER = class_jar(Class("app/User", uses=["db/Store.get:()V"]))
PLAIN, LESSER, GOOD = (
    class_jar(WHOLE, files=ON_X86),
    class_jar(LESS, files=ON_BOTH),
    class_jar(WHOLE, files=ON_BOTH),
)
CLASSIFIER = class_jar(files={ARM: jni_library(EXPORTS)})
LACKS = "app/User in lib/user.jar needs db/Store.get:()V, which is gone"


class World:
    """A source with a gap that no catalog knows, and a repository where the library's versions lie."""

    def __init__(self, place: Path, server: Server) -> None:
        self.place, self.server = place, server
        self.versions: list[str] = []
        files = {"lib/org.made-db-1.1.0.jar": OLD, "lib/user.jar": CALLER, "README": b""}
        self.source = tarball(place / "x.tar", {f"top/{name}": content for name, content in files.items()})
        self.publish("1.1.0", OLD)

    def publish(self, version: str, jar: bytes, classifier: str = "") -> None:
        self.server.publish(Coordinate("org.made", "db", version, "jar", classifier).path, jar)
        self.versions.append(version)
        rows = "".join(f"<version>{one}</version>" for one in dict.fromkeys(self.versions))
        text = f"<metadata><versioning><versions>{rows}</versions></versioning></metadata>"
        self.server.files["org/made/db/maven-metadata.xml"] = text.encode()
        licence = "<project><licenses><license><name>MIT License</name></license></licenses></project>"
        self.server.files[f"org/made/db/{version}/db-{version}.pom"] = licence.encode()

    def run(self, *words: str | Path) -> Result:
        first = ["--cache", self.place / "cache", "--maven-url", self.server.url]
        return CliRunner().invoke(cli, [str(one) for one in (*first, *words)], standalone_mode=False)

    def add(self, what: str = "org.made:db", *words: str) -> Result:
        return self.run("catalog", "add", what, "--for", self.source, "--catalog", self.own, *words)

    @property
    def own(self) -> Path:
        return self.place / "own"

    def remedy(self) -> tuple[str, str]:
        (remedy,) = load_catalog(self.own)["db"].remedies
        return remedy.action, remedy.coordinate


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with maven_server() as server:
        yield World(tmp_path, server)


def told(result: Result) -> str:
    return " ".join(result.stdout.split())


def test_the_nearest_version_that_has_the_library_and_links_is_written_down(world: World) -> None:
    world.publish("1.1.1", PLAIN)
    world.publish("1.1.2", LESSER)
    world.publish("1.2.0", GOOD)
    world.publish("1.1.3-RC1", GOOD)
    world.publish("2.0.0", GOOD)
    done = world.add()
    assert done.return_value == 0, done.output
    assert world.remedy() == ("replace", "org.made:db:1.2.0")
    (remedy,) = load_catalog(world.own)["db"].remedies
    assert (remedy.versions, remedy.licence) == (("1.1.0",), "MIT")
    assert f"1.1.2 was refused: {LACKS}" in remedy.why
    assert "refused org.made:db:1.1.2" in told(done)
    assert LACKS in told(done)
    assert "no library for aarch64 in 1.1.0, 1.1.1" in told(done)


def test_a_version_without_the_library_is_not_fetched_whole(world: World) -> None:
    world.publish("1.1.1", PLAIN)
    world.publish("1.1.2", GOOD)
    world.add()
    asked = world.server.gets(Coordinate("org.made", "db", "1.1.1").path)
    assert asked
    assert all("Range" in one.headers for one in asked)


def test_the_version_s_own_classifier_jar_is_nearest(world: World) -> None:
    world.publish("1.1.0", CLASSIFIER, "linux-aarch_64")
    world.publish("1.1.1", GOOD)
    assert world.add().return_value == 0
    assert world.remedy() == ("add", "org.made:db:1.1.0:jar:linux-aarch_64")


def test_a_version_that_is_named_is_judged_and_no_other(world: World) -> None:
    world.publish("1.1.2", LESSER)
    world.publish("1.1.3", GOOD)
    done = world.add("org.made:db:1.1.2")
    assert done.return_value == 1
    assert LACKS in told(done)
    assert not world.own.exists()
    assert world.add("org.made:db:1.1.3").return_value == 0
    assert world.remedy() == ("replace", "org.made:db:1.1.3")


def test_a_version_that_is_not_published_is_told(world: World) -> None:
    assert isinstance(world.add("org.made:db:7.7").exception, HostError)
    assert isinstance(world.add("org.made:other", "--library", "db").exception, HostError)


def test_without_any_that_will_do_the_answer_is_no_and_far_ones_are_left(world: World) -> None:
    for number in range(1, MOST_JUDGED + 4):
        world.publish(f"1.1.{number}", LESSER)
    done = world.add()
    assert done.return_value == 1
    assert "nothing will do" in told(done)
    assert "3 farther versions" in told(done)
    assert not world.own.exists()


def test_a_file_that_exists_keeps_its_words_and_gets_the_remedy_first(world: World) -> None:
    world.publish("1.1.3", GOOD)
    world.own.mkdir()
    mine = (
        '# mine\nschema = 1\nsummary = "my own"\n\n[[remedy]]\naction = "tolerate"\nwhy = "it falls back"\n'
    )
    (world.own / "db.toml").write_text(mine)
    assert isinstance(world.add().exception, UsageError)
    assert (world.own / "db.toml").read_text() == mine
    assert world.add("org.made:db", "--force").return_value == 0
    assert (world.own / "db.toml").read_text().startswith('# mine\nschema = 1\nsummary = "my own"\n')
    assert [one.action for one in load_catalog(world.own)["db"].remedies] == ["replace", "tolerate"]


def test_a_library_under_another_name_is_found_for_the_one_it_mends(world: World) -> None:
    world.server.publish("org/other/database/1.1.0/database-1.1.0.jar", GOOD)
    world.server.files["org/other/database/maven-metadata.xml"] = (
        b"<metadata><versioning><versions><version>1.1.0</version></versions></versioning></metadata>"
    )
    refused = world.add("org.other:database")
    assert isinstance(refused.exception, UsageError)
    assert "lacks aarch64 there: db" in str(refused.exception)
    assert world.add("org.other:database", "--library", "db").return_value == 0
    assert world.remedy() == ("replace", "org.other:database:1.1.0")


@pytest.mark.parametrize("what", ["db", "org.made:", ":db", "a:b:c:d", "a:b:"])
def test_what_is_no_coordinate_is_refused(world: World, what: str) -> None:
    assert isinstance(world.add(what).exception, UsageError)


def test_a_port_resolves_what_the_catalog_lacks_and_says_so(world: World) -> None:
    world.publish("1.1.2", LESSER)
    world.publish("1.1.3", GOOD)
    out = world.place / "out.tar"
    without = world.run("port", world.source, "-o", out)
    assert isinstance(without.exception, UnresolvedGapError)
    done = world.run("port", world.source, "-o", out, "--resolve")
    assert done.exception is None, done.output
    assert "db 1.1.0 is not in the catalog: found org.made:db:1.1.3" in done.stderr
    receipt = json.loads((world.place / "out.tar.receipt.json").read_text())
    (action,) = receipt["actions"]
    assert (action["origin"], action["licence"]) == ("org.made:db:1.1.3", "MIT")
    assert LACKS in action["why"]
    assert receipt["verdicts"][0]["linked"]


def test_a_port_that_finds_nothing_stays_unresolved(world: World) -> None:
    world.publish("1.1.2", LESSER)
    done = world.run("port", world.source, "-o", world.place / "out.tar", "--resolve")
    assert isinstance(done.exception, UnresolvedGapError)
    assert "nothing was found" in done.stderr


def test_a_port_takes_the_users_own_override(world: World) -> None:
    world.publish("1.1.3", GOOD)
    world.add()
    words = ("port", world.source, "-o", world.place / "out.tar")
    assert world.run(*words, "--catalog", world.own).exception is None
    path = world.own / "db.toml"
    path.write_text(path.read_text().replace('sha256 = "', 'sha256 = "0'))
    assert isinstance(world.run(*words, "--force", "--catalog", world.own).exception, CatalogError)
    digest = load_catalog_digest(path)
    path.write_text(path.read_text().replace(digest, "0" * 64))
    refused = world.run(*words, "--force", "--catalog", world.own).exception
    assert isinstance(refused, HostError)
    assert "sha256" in str(refused)


def load_catalog_digest(path: Path) -> str:
    return next(line for line in path.read_text().splitlines() if line.startswith("sha256")).split('"')[1]


def test_a_library_that_is_there_already_mends_nothing(world: World) -> None:
    jar = class_jar(WHOLE, files=ON_BOTH)
    files = {"top/lib/org.made-db-1.1.0.jar": jar, "top/README": b""}
    world.source = tarball(world.place / "y.tar", files)
    world.publish("1.1.1", GOOD)
    world.publish("1.1.2", class_jar(WHOLE, files={ARM: jni_library([*EXPORTS, "Java_db_Store_more"])}))
    done = world.add()
    assert "native/arm.so is the very file that is there already" in told(done)
    assert world.remedy() == ("replace", "org.made:db:1.1.2")


def test_a_library_with_a_c_library_inside_is_not_taken(world: World) -> None:
    inside = {ARM: jni_library([*EXPORTS, "__libc_malloc"])}
    world.publish("1.1.1", class_jar(WHOLE, files=inside))
    world.publish("1.1.2", GOOD)
    done = world.add()
    assert "native/arm.so carries a C library of its own" in told(done)
    assert world.remedy() == ("replace", "org.made:db:1.1.2")
