from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from builders_oci import blob_of, file, folder, image_of, tar_of
from click.testing import CliRunner

from pulsar_arm import report
from pulsar_arm.cli import cli
from pulsar_arm.errors import UsageError
from pulsar_arm.formats.blob import LAYER_GZIP, LAYER_TAR
from pulsar_arm.formats.layer import write_layer_blob
from pulsar_arm.formats.oci import Image
from pulsar_arm.reports.layers import layer_rows, layer_table, layers_json, part

JARS = [
    folder("pulsar"),
    folder("pulsar/lib"),
    file("pulsar/lib/a.jar", b"a"),
    file("pulsar/lib/b.jar", b"b"),
]


def made(blobs: Path) -> Image:
    base = image_of(blobs, [file("etc/os-release", b"made" * 5000)], [file("bin/sh", b"sh")])
    return Image(base.config, (*base.layers, write_layer_blob(JARS, blobs)))


def test_each_layer_is_told_with_what_it_holds_and_weighs(tmp_path: Path) -> None:
    image = made(tmp_path)
    rows = layer_rows(image, "made-jre8", [part("native", JARS)])
    assert [(row.name, row.holds) for row in rows] == [
        ("base", "made-jre8, 1 of 2"),
        ("base", "made-jre8, 2 of 2"),
        ("native", "2 files in /pulsar/lib"),
    ]
    assert [row.compressed for row in rows] == [layer.size for layer in image.layers]
    assert rows[-1].uncompressed == len(tar_of(JARS))
    told = layers_json(image.digest, rows)
    assert told["uncompressed"] == sum(row["uncompressed"] for row in told["layers"])
    assert [row["diff_id"] for row in told["layers"]] == [layer.diff_id for layer in image.layers]
    table = report.as_text([layer_table("made:1", rows)])
    assert "native" in table
    assert "2 files in /pulsar/lib" in table
    assert all(len(line) <= 100 for line in table.splitlines())


def test_a_part_is_told_by_the_folder_that_holds_all_of_it() -> None:
    assert part("x", [file("pulsar/bin/a"), file("pulsar/lib/b")]).holds == "2 files in /pulsar"
    assert part("x", [folder("pulsar"), file("pulsar/a")]).holds == "1 file in /pulsar"
    assert part("x", []).holds == "0 files in /"


@pytest.mark.parametrize("members", [1, 2, 7])
def test_the_size_of_a_tar_is_told_however_it_is_compressed(tmp_path: Path, members: int) -> None:
    tar = tar_of([file("a", bytes(range(256)) * 4000)])
    step = len(tar) // members + 1
    packed = b"".join(gzip.compress(tar[at : at + step], mtime=0) for at in range(0, len(tar), step))
    assert blob_of(packed, tmp_path, LAYER_GZIP).tar_size() == len(tar)
    assert blob_of(tar, tmp_path, LAYER_TAR).tar_size() == len(tar)


@pytest.mark.parametrize("label", ["key", "=value", "a b=c"])
def test_a_label_that_is_none_is_a_usage_error(label: str) -> None:
    ended = CliRunner().invoke(cli, ["build", "--label", label])
    assert isinstance(ended.exception, UsageError)
    assert "is no KEY=VALUE" in str(ended.exception)


def test_a_file_without_a_certificate_ends_a_build_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    ended = CliRunner().invoke(cli, ["build", "--extra-ca", str(tmp_path / "ca.pem")])
    assert isinstance(ended.exception, UsageError)
    assert "holds no certificate" in str(ended.exception)
