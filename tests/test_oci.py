from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from backports import zstd
from builders_oci import (
    blob_of,
    docker_archive,
    file,
    folder,
    hardlink,
    image_of,
    raw_tar,
    symlink,
    tar_of,
)

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.formats.blob import LAYER_GZIP, LAYER_ZSTD, LayerBlob
from pulsar_arm.formats.oci import INDEX, MANIFEST, Image, digest, index_of, render
from pulsar_arm.formats.oci_archive import write_archive, write_layout
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.root import root_entries, root_paths, unpack
from pulsar_arm.platforms import AARCH64, X86_64

skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(
        tmp_path / "made",
        [folder("etc"), file("etc/passwd", b"root:x:0:0\n"), folder("tmp", 0o1777)],
        [file("pulsar/a", b"same", 0o755, 10000), hardlink("pulsar/b", "pulsar/a"), symlink("bin", "pulsar")],
    )


def tree(image: Image) -> dict[str, tuple[str, int, int, str, bytes]]:
    return {
        one.entry.path: (
            one.entry.kind,
            one.entry.mode,
            one.entry.uid,
            one.entry.link,
            one.content.read() if one.content else b"",
        )
        for one in root_entries(image)
    }


def add_to_index(layout: Path, *descriptors: dict[str, object]) -> None:
    index = layout / "index.json"
    parsed = json.loads(index.read_bytes())
    parsed["manifests"] += descriptors
    index.write_bytes(json.dumps(parsed).encode())


def test_what_was_written_is_read_again(image: Image, tmp_path: Path) -> None:
    image.validate()
    write_layout(image, tmp_path / "layout")
    write_archive(image, tmp_path / "a.tar", "pulsar:2.6.0")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    for name in ("layout", "a.tar", "a.tar.gz"):
        found = read_image(tmp_path / name, AARCH64)
        found.validate()
        assert found == image
        assert found.digest == image.digest
        assert tree(found) == tree(image)


def test_a_docker_archive_is_read(image: Image, tmp_path: Path) -> None:
    docker_archive(tmp_path / "d.tar", image_of(tmp_path / "x", [], architecture="amd64"), image)
    found = read_image(tmp_path / "d.tar", AARCH64)
    found.validate()
    assert found.config == image.config
    assert tree(found) == tree(image)


def test_two_archives_of_one_image_are_the_same_bytes(image: Image, tmp_path: Path) -> None:
    write_archive(image, tmp_path / "a.tar", "pulsar:1")
    moved = read_image(tmp_path / "a.tar", AARCH64)
    write_archive(moved, tmp_path / "b.tar", "pulsar:1")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_an_archive_names_its_image_for_every_engine(image: Image, tmp_path: Path) -> None:
    write_archive(image, tmp_path / "a.tar", "reg.example:5000/team/pulsar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        docker = json.load(tar.extractfile("manifest.json"))
        index = json.load(tar.extractfile("index.json"))
        assert {(one.mtime, one.uid, one.gid) for one in tar} == {(0, 0, 0)}
        assert all(name in tar.getnames() for name in [docker[0]["Config"], *docker[0]["Layers"]])
    assert docker[0]["RepoTags"] == ["reg.example:5000/team/pulsar:latest"]
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "reg.example:5000/team/pulsar:latest",
        "org.opencontainers.image.ref.name": "latest",
    }
    assert index["manifests"][0]["platform"] == {"os": "linux", "architecture": "arm64"}


def test_an_existing_archive_is_replaced_only_by_force(image: Image, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        write_archive(image, path, "pulsar:1")
    assert path.read_text() == "precious"
    write_archive(image, path, "pulsar:1", force=True)
    assert read_image(path, AARCH64) == image


def test_a_failed_archive_leaves_nothing(image: Image, tmp_path: Path) -> None:
    image.layers[0].path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        write_archive(image, tmp_path / "a.tar", "pulsar:1")
    assert [one.name for one in tmp_path.iterdir()] == ["made"]


def test_a_place_that_cannot_be_written_is_told(image: Image, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        write_archive(image, tmp_path / "absent" / "a.tar", "pulsar:1")
    with pytest.raises(UsageError, match="is a folder"):
        write_archive(image, tmp_path, "pulsar:1")
    with pytest.raises(UsageError, match="no name for an image"):
        write_archive(image, tmp_path / "a.tar", "pulsar@sha256:00")
    with pytest.raises(UsageError, match="exists already"):
        write_layout(image, tmp_path / "made")


def test_another_platform_is_refused_by_name(tmp_path: Path) -> None:
    write_layout(image_of(tmp_path / "made", [file("a")], architecture="amd64"), tmp_path / "layout")
    with pytest.raises(InputError, match="This image is for linux/amd64, but linux/arm64 is needed"):
        read_image(tmp_path / "layout", AARCH64)


def test_the_platform_is_picked_from_nested_indexes(image: Image, tmp_path: Path) -> None:
    other = image_of(tmp_path / "made", [file("amd64")], architecture="amd64")
    layout = tmp_path / "layout"
    write_layout(image, layout)
    for content in (other.manifest, other.config):
        blob_of(content, layout / "blobs" / "sha256")
    shutil.copy(other.layers[0].path, layout / "blobs" / "sha256")
    plain = {"mediaType": MANIFEST, "digest": other.digest, "size": len(other.manifest)}
    attestation = plain | {"digest": digest(b"x"), "platform": {"os": "unknown", "architecture": "unknown"}}
    nested = render({"schemaVersion": 2, "manifests": [plain, attestation]})
    blob_of(nested, layout / "blobs" / "sha256")
    add_to_index(layout, {"mediaType": INDEX, "digest": digest(nested), "size": len(nested)})
    assert read_image(layout, AARCH64) == image
    assert read_image(layout, X86_64) == other


def test_several_images_for_one_platform_are_refused(image: Image, tmp_path: Path) -> None:
    other = image_of(tmp_path / "made", config={"User": "1"})
    layout = tmp_path / "layout"
    write_layout(image, layout)
    for content in (other.manifest, other.config):
        blob_of(content, layout / "blobs" / "sha256")
    add_to_index(layout, {"mediaType": MANIFEST, "digest": other.digest, "size": len(other.manifest)})
    with pytest.raises(InputError, match="2 different images for linux/arm64"):
        read_image(layout, AARCH64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda blob: blob.unlink(), "is missing"),
        (lambda blob: blob.write_bytes(blob.read_bytes()[:-1]), "holds other bytes"),
        (lambda blob: blob.write_bytes(b""), "holds other bytes"),
    ],
)
@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
def test_a_broken_blob_is_refused(image: Image, tmp_path: Path, change, words: str, which: str) -> None:
    write_layout(image, tmp_path / "layout")
    name = {"layer": image.layers[1].digest, "config": image.config_digest, "manifest": image.digest}[which]
    blob = tmp_path / "layout" / "blobs" / "sha256" / name.removeprefix("sha256:")
    shutil.copy(blob, tmp_path / "own")
    (tmp_path / "own").replace(blob)
    change(blob)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "layout", AARCH64)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("index.json", b"{", "index.json is no JSON"),
        ("index.json", b"[]", "no JSON object"),
        ("index.json", b"\xff\xfe\xbe", "is no JSON"),
        ("index.json", b"{}", "lacks the list 'manifests'"),
        ("index.json", b'{"manifests": []}', "holds no image"),
        (
            "index.json",
            b'{"manifests": [{"mediaType": "%s", "digest": "../../x"}]}' % MANIFEST.encode(),
            "digest",
        ),
        ("other", b"", "neither an index.json"),
    ],
)
def test_a_broken_layout_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path, AARCH64)


@pytest.mark.parametrize(
    "content", [b"", b"no tar", gzip.compress(b"no tar"), gzip.compress(b"x" * 9999)[:-9]]
)
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="no image"):
        read_image(tmp_path / "a", AARCH64)


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no image at"):
        read_image(tmp_path / "gone", AARCH64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mediaType": "application/x"}, "of a kind that cannot be read, application/x"),
        ({"size": 1}, "bytes, not 1"),
        ({"digest": None}, "no sha256 digest"),
    ],
)
def test_a_manifest_that_misdescribes_its_layer_is_refused(
    image: Image, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    layout = tmp_path / "layout"
    write_layout(image, layout)
    manifest = json.loads(image.manifest)
    manifest["layers"][0] |= change
    written = blob_of(render(manifest), layout / "blobs" / "sha256")
    index = {"manifests": [{"mediaType": MANIFEST, "digest": written.digest, "size": written.size}]}
    (layout / "index.json").write_bytes(render(index))
    with pytest.raises(InputError, match=words):
        read_image(layout, AARCH64)


def test_a_docker_archive_for_another_machine_is_refused(tmp_path: Path) -> None:
    docker_archive(tmp_path / "d.tar", image_of(tmp_path / "x", [], architecture="amd64"))
    with pytest.raises(InputError, match="for linux/amd64, but linux/arm64"):
        read_image(tmp_path / "d.tar", AARCH64)


def test_an_archive_that_lacks_a_layer_is_refused(image: Image, tmp_path: Path) -> None:
    docker_archive(tmp_path / "d.tar", image)
    with tarfile.open(tmp_path / "d.tar") as tar, tarfile.open(tmp_path / "e.tar", "w") as less:
        for member in tar.getmembers():
            if member.name != "0-1/real.tar":
                less.addfile(member, tar.extractfile(member) if member.isfile() else None)
    with pytest.raises(InputError, match=r"0-1/layer.tar is missing"):
        read_image(tmp_path / "e.tar", AARCH64)


def test_validate_finds_what_is_untrue(image: Image, tmp_path: Path) -> None:
    first, second = image.layers
    swapped = replace(first, diff_id=second.diff_id)
    short = replace(first, size=1)
    settings = image.settings
    settings["rootfs"]["diff_ids"][0] = second.diff_id
    for wrong, words in [
        (Image(image.config, (first,)), "other diff IDs"),
        (Image(render(settings), (swapped, second)), "has the diff ID"),
        (Image(image.config, (short, second)), "holds"),
        (Image(render(image.settings | {"history": []}), image.layers), "history tells of 0 layers"),
        (Image(render(image.settings | {"architecture": ""}), image.layers), "names no os and architecture"),
    ]:
        with pytest.raises(InputError, match=words):
            wrong.validate()


def test_a_layer_may_be_plain_or_zstd(tmp_path: Path) -> None:
    tar = tar_of([file("a", b"content")])
    packed = blob_of(zstd.compress(tar), tmp_path, LAYER_ZSTD, digest(tar))
    for layer in (blob_of(tar, tmp_path), packed):
        one = image_of(tmp_path, layer)
        one.validate()
        assert tree(one)["a"][4] == b"content"
    broken = blob_of(zstd.compress(tar)[:-9], tmp_path, LAYER_ZSTD, digest(tar))
    with pytest.raises(InputError):
        image_of(tmp_path, broken).validate()


def test_later_layers_win_and_whiteouts_hide(tmp_path: Path) -> None:
    lower = [
        file("a/old", b"1"),
        file("a/kept", b"1"),
        file("b/x", b"1"),
        file("c", b"1"),
        folder("d", 0o700),
    ]
    upper = [
        file("a/.wh.old"),
        file("b/.wh..wh..opq"),
        file("b/new", b"2"),
        file("c", b"2"),
        folder("d", 0o750),
        file(".wh.absent"),
    ]
    found = tree(image_of(tmp_path, lower, upper))
    assert {path: value[4] for path, value in found.items() if value[0] == "file"} == {
        "a/kept": b"1",
        "b/new": b"2",
        "c": b"2",
    }
    assert found["d"][1] == 0o750


def test_a_whiteout_hides_only_what_lies_below_its_layer(tmp_path: Path) -> None:
    found = tree(image_of(tmp_path, [file("a/x", b"1")], [file(".wh.a"), file("a/y", b"2")]))
    assert set(found) == {"a", "a/y"}


def test_hard_links_are_resolved_even_when_the_first_name_is_replaced(tmp_path: Path) -> None:
    lower = [file("a", b"old"), hardlink("b", "a"), hardlink("c", "a")]
    found = tree(image_of(tmp_path, lower, [file("a", b"new")]))
    assert found["a"][4] == b"new"
    assert (found["b"][0], found["b"][4]) == ("file", b"old")
    assert found["c"][:1] + found["c"][3:] == ("hardlink", "b", b"")


def test_folders_and_files_replace_each_other(tmp_path: Path) -> None:
    image = image_of(tmp_path, [file("a/b/c"), file("d")], [file("a", b"file"), file("d/e")])
    assert set(tree(image)) == {"a", "d", "d/e"}


def test_a_path_through_a_link_lands_where_engines_put_it(tmp_path: Path) -> None:
    lower = [folder("usr/lib"), symlink("lib", "/usr/lib"), symlink("up", "../../usr")]
    upper = blob_of(
        raw_tar(("lib/x", tarfile.REGTYPE, "", b"1"), ("up/y", tarfile.REGTYPE, "", b"2")), tmp_path
    )
    assert {"usr/lib/x", "usr/y"} < set(root_paths(image_of(tmp_path, lower, upper)))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../x", tarfile.REGTYPE, "", b"1")], "leaves its root"),
        ([("a/../../x", tarfile.REGTYPE, "", b"1")], "leaves its root"),
        ([("x", tarfile.LNKTYPE, "../../etc/passwd", b"")], "leaves its root"),
        ([("x", tarfile.LNKTYPE, "/etc/passwd", b"")], "which is no file"),
        ([("a", tarfile.REGTYPE, "", b""), ("a/b", tarfile.REGTYPE, "", b"")], "no folder"),
        (
            [("a", tarfile.SYMTYPE, "b", b""), ("b", tarfile.SYMTYPE, "a", b""), ("a/x", b"0", "", b"")],
            "in circles",
        ),
    ],
)
def test_an_entry_that_escapes_is_refused(tmp_path: Path, members, words: str) -> None:
    image = image_of(tmp_path / "made", blob_of(raw_tar(*members), tmp_path / "made"))
    with pytest.raises(InputError, match=words):
        unpack(image, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_is_unpacked_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    wicked = raw_tar(("a", tarfile.SYMTYPE, str(outside), b""), ("a/x", tarfile.REGTYPE, "", b"1"))
    unpack(image_of(tmp_path / "made", blob_of(wicked, tmp_path / "made")), tmp_path / "out")
    assert not list(outside.iterdir())
    assert (tmp_path / "out" / str(outside).lstrip("/") / "x").read_bytes() == b"1"


def test_absolute_names_lie_below_the_root_and_devices_are_left_out(tmp_path: Path) -> None:
    members = [("/etc/x", tarfile.REGTYPE, "", b"1"), ("dev/null", tarfile.CHRTYPE, "", b"")]
    image = image_of(tmp_path, blob_of(raw_tar(*members), tmp_path))
    assert set(tree(image)) == {"etc", "etc/x", "dev"}


def test_an_image_is_unpacked_with_modes_links_and_owners(image: Image, tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack(image, out)
    assert (out / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (out / "pulsar/a").stat().st_mode & 0o7777 == 0o755
    assert (out / "pulsar/a").samefile(out / "pulsar/b")
    assert (out / "bin").readlink() == Path("pulsar")
    if os.geteuid() == 0:
        assert (out / "pulsar/a").stat().st_uid == 10000
    with pytest.raises(UsageError, match="is not empty"):
        unpack(image, out)


def test_a_damaged_layer_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(tar_of([file("a", os.urandom(99_999))]))
    for content in (packed[:-50_000], b"no gzip at all", gzip.compress(b"no tar")):
        layer: LayerBlob = blob_of(content, tmp_path, LAYER_GZIP, digest(b""))
        with pytest.raises(InputError, match="damaged"):
            tree(image_of(tmp_path, layer))


@skopeo
def test_skopeo_takes_the_archive_and_the_layout(image: Image, tmp_path: Path) -> None:
    write_archive(image, tmp_path / "a.tar", "pulsar:2.6.0")
    write_layout(image, tmp_path / "layout")
    for source in (f"oci-archive:{tmp_path}/a.tar:2.6.0", f"oci:{tmp_path}/layout"):
        seen = json.loads(subprocess.check_output(["skopeo", "inspect", source]))
        assert (seen["Digest"], seen["Architecture"]) == (image.digest, "arm64")
        assert seen["Layers"] == [layer.digest for layer in image.layers]
    docker = json.loads(
        subprocess.check_output(["skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/a.tar"])
    )
    assert docker["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]


@pytest.mark.skipif(not shutil.which("umoci") or os.geteuid() != 0, reason="needs umoci and root")
def test_umoci_unpacks_the_same_tree(image: Image, tmp_path: Path) -> None:
    write_layout(image, tmp_path / "layout")
    subprocess.check_call(["umoci", "unpack", "--image", f"{tmp_path}/layout:latest", tmp_path / "bundle"])
    unpack(image, tmp_path / "ours")
    listed = [
        subprocess.check_output(["find", ".", "-printf", "%p %y %m %U %G %n %s %l\n"], cwd=where).splitlines()
        for where in (tmp_path / "bundle" / "rootfs", tmp_path / "ours")
    ]
    assert sorted(one for one in listed[0] if b". d" not in one) == sorted(
        one for one in listed[1] if b". d" not in one
    )


@pytest.fixture
def two(tmp_path: Path) -> tuple[list[Image], Path]:
    """An image for each of two platforms, and the archive with both."""
    names = ("arm64", "amd64")
    images = [image_of(tmp_path / "b", [file("m", name.encode())], architecture=name) for name in names]
    write_archive(images, tmp_path / "both.tar", "made/pulsar:9")
    return images, tmp_path / "both.tar"


def test_several_platforms_are_one_index(two: tuple[list[Image], Path]) -> None:
    images, archive = two
    for image, target in zip(images, (AARCH64, X86_64), strict=True):
        assert read_image(archive, target).digest == image.digest
    with tarfile.open(archive) as tar:
        saved = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert [row["RepoTags"] for row in saved] == [
        ["made/pulsar:9", "made/pulsar:9-arm64"],
        ["made/pulsar:9-amd64"],
    ]


@skopeo
def test_skopeo_reads_the_index_and_each_of_its_images(two: tuple[list[Image], Path]) -> None:
    images, archive = two
    name = f"oci-archive:{archive}:9"
    assert subprocess.check_output(["skopeo", "inspect", "--raw", name], timeout=60) == index_of(images)
    for image in images:
        words = ["skopeo", f"--override-arch={image.settings['architecture']}", "inspect", "--config", name]
        assert json.loads(subprocess.check_output(words, timeout=60)) == image.settings
