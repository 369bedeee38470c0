from __future__ import annotations

from pathlib import Path

from builders import X86_64, Link, Made, elf_bytes, jar_bytes, pulsar_folder

from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64
from pulsar_arm.releases import Release
from pulsar_arm.scan import scan
from pulsar_arm.tree import Owner, addition_layer, server_layers

RELEASE = Release("9.9.9", 8, (), (".", "conf/**", "data", "logs"), ("setup.sh",), ("glibc",), {})
OWNER = Owner(10000, 0)
MORE: dict[str, Made] = {
    "lib/twice-1.jar": jar_bytes({"a": b"twice"}),
    "lib/presto/lib/twice-1.jar": jar_bytes({"a": b"twice"}),
    "conf/deep/x.conf": b"",
    "bin/native/x.so": elf_bytes(X86_64),
    "link": Link("conf"),
}


def layers(tmp_path: Path, catalog: Catalog) -> dict[str, dict[str, LayerEntry]]:
    folder = pulsar_folder(tmp_path / "ported", more=MORE)
    (folder / "lib/twice-1.jar").chmod(0o600)
    inventory = scan(open_source("x", folder), catalog, AARCH64, Silent())
    made = server_layers(folder, inventory, {"setup.sh": b"#!/bin/sh\n"}, RELEASE, OWNER)
    for layer in made:
        assert len({entry.path for entry in layer.entries}) == len(layer.entries)
    return {layer.name: {entry.path: entry for entry in layer.entries} for layer in made}


def test_files_are_split_by_how_often_they_change(tmp_path: Path, catalog: Catalog) -> None:
    made = layers(tmp_path, catalog)
    files = {name: [path for path, one in layer.items() if one.kind != "dir"] for name, layer in made.items()}
    assert list(files) == ["third-party", "native", "pulsar"]
    assert sorted(files["third-party"]) == [
        "pulsar/lib/org.made-plain-1.0.jar",
        "pulsar/lib/presto/lib/twice-1.jar",
        "pulsar/lib/twice-1.jar",
    ]
    assert sorted(files["native"]) == [
        "pulsar/bin/native/x.so",
        "pulsar/lib/org.rocksdb-rocksdbjni-9.9.9.jar",
    ]
    assert sorted(files["pulsar"]) == [
        "pulsar/README",
        "pulsar/bin/pulsar",
        "pulsar/bin/setup.sh",
        "pulsar/conf/broker.conf",
        "pulsar/conf/deep/x.conf",
        "pulsar/lib/org.apache.pulsar-pulsar-broker-9.9.9.jar",
        "pulsar/link",
    ]


def test_a_file_that_stands_twice_is_a_hard_link_with_equal_modes(tmp_path: Path, catalog: Catalog) -> None:
    layer = layers(tmp_path, catalog)["third-party"]
    first, second = layer["pulsar/lib/presto/lib/twice-1.jar"], layer["pulsar/lib/twice-1.jar"]
    assert (first.kind, first.mode) == ("file", 0o644)
    assert (second.kind, second.link, second.mode) == ("hardlink", "pulsar/lib/presto/lib/twice-1.jar", 0o644)


def test_what_the_server_writes_belongs_to_it_and_its_group(tmp_path: Path, catalog: Catalog) -> None:
    layer = layers(tmp_path, catalog)["pulsar"]
    told = {path: (one.kind, oct(one.mode), one.uid, one.gid) for path, one in layer.items()}
    for folder in ("pulsar", "pulsar/conf", "pulsar/conf/deep", "pulsar/data", "pulsar/logs"):
        assert told[folder] == ("dir", "0o775", 10000, 0), folder
    for file in ("pulsar/conf/broker.conf", "pulsar/conf/deep/x.conf"):
        assert told[file] == ("file", "0o664", 10000, 0), file
    assert told["pulsar/README"] == ("file", "0o644", 0, 0)
    assert told["pulsar/bin/pulsar"] == ("file", "0o755", 0, 0)
    assert told["pulsar/bin/setup.sh"] == ("file", "0o755", 0, 0)
    assert told["pulsar/lib"] == ("dir", "0o755", 0, 0)
    assert told["pulsar/link"] == ("symlink", "0o777", 0, 0)


def test_folders_above_are_alike_in_every_layer(tmp_path: Path, catalog: Catalog) -> None:
    made = layers(tmp_path, catalog)
    folders = [{path: one for path, one in layer.items() if one.kind == "dir"} for layer in made.values()]
    for path in set.union(*map(set, folders)):
        assert len({one[path] for one in folders if path in one}) == 1
    assert all("pulsar" in one for one in folders)


def test_an_addition_is_read_only_and_below_pulsar(tmp_path: Path) -> None:
    (tmp_path / "c.nar").write_bytes(b"nar")
    layer = addition_layer("connectors", {"connectors/c.nar": tmp_path / "c.nar"}, RELEASE, OWNER)
    assert layer.name == "connectors"
    assert sorted(layer.entries, key=lambda entry: entry.path) == [
        LayerEntry("pulsar", "dir", 0o775, 10000, 0),
        LayerEntry("pulsar/connectors", "dir", 0o755),
        LayerEntry("pulsar/connectors/c.nar", "file", 0o644, source=tmp_path / "c.nar"),
    ]
