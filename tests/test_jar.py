from __future__ import annotations

import io
import struct
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from builders import TIME, jar_bytes
from hypothesis import given
from hypothesis import strategies as st

from pulsar_arm.errors import InputError
from pulsar_arm.formats.jar import edit_entries, read_entry

ENTRIES = {
    "META-INF/": b"",
    "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n",
    "a/A.class": b"A" * 400,
    "a/B.class": bytes(range(256)) * 3,
    "größe.txt": b"x",
}


def infos(content: bytes) -> list[tuple[object, ...]]:
    """All that the central directory says of each entry, but for its place."""
    with zipfile.ZipFile(io.BytesIO(content)) as jar:
        return [
            (
                *(info.filename, info.date_time, info.external_attr, info.internal_attr, info.create_system),
                *(info.comment, info.extra, info.compress_type, info.compress_size, info.flag_bits, info.CRC),
            )
            for info in jar.filelist
        ]


def local(content: bytes) -> dict[str, bytes]:
    """Each entry's local header and packed bytes, with what follows up to the next entry."""
    with zipfile.ZipFile(io.BytesIO(content)) as jar:
        starts = sorted([*(info.header_offset for info in jar.filelist), jar.start_dir])
        ends = dict(pairwise(starts))
        return {
            info.filename: content[info.header_offset : ends[info.header_offset]] for info in jar.filelist
        }


def upper(content: bytes) -> bytes:
    return content.upper()


def test_one_entry_is_changed_and_stored() -> None:
    old = jar_bytes(ENTRIES, comment=b"made")
    new = edit_entries(old, {"a/A.class": lambda content: content + b"!"})
    with zipfile.ZipFile(io.BytesIO(new)) as jar:
        assert jar.testzip() is None
        assert jar.read("a/A.class") == b"A" * 400 + b"!"
        info = jar.getinfo("a/A.class")
        assert (info.compress_type, info.date_time, info.external_attr) == (0, TIME, 0o640 << 16)
        assert jar.comment == b"made"


def test_every_other_entry_keeps_its_bytes_order_time_and_attributes() -> None:
    old = jar_bytes(ENTRIES)
    new = edit_entries(old, {"a/A.class": upper})
    kept = [name for name in ENTRIES if name != "a/A.class"]
    assert list(local(new)) == list(ENTRIES)
    assert {name: local(new)[name] for name in kept} == {name: local(old)[name] for name in kept}
    assert [row for row in infos(new) if row[0] in kept] == [row for row in infos(old) if row[0] in kept]


def test_no_edit_changes_no_byte() -> None:
    old = jar_bytes(ENTRIES, comment=b"made")
    assert edit_entries(old, {}) == old


def test_an_edit_that_changes_nothing_twice_gives_the_same_bytes() -> None:
    once = edit_entries(jar_bytes(ENTRIES), {"a/A.class": upper})
    assert edit_entries(once, {"a/A.class": upper}) == once


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)


@given(
    st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=6),
    st.just(b"made") | st.just(b""),
    st.booleans(),
)
def test_any_jar_keeps_what_is_not_edited(entries: dict[str, bytes], comment: bytes, packed: bool) -> None:
    old = jar_bytes(entries, packed=packed, comment=comment)
    first = next(iter(entries))
    new = edit_entries(old, {first: lambda content: content + b"more"})
    with zipfile.ZipFile(io.BytesIO(new)) as jar:
        assert {name: jar.read(name) for name in jar.namelist()} == {
            **entries,
            first: entries[first] + b"more",
        }
    assert infos(new)[1:] == infos(old)[1:]
    assert {**local(new), first: b""} == {**local(old), first: b""}


def test_data_descriptors_are_kept_with_their_entry() -> None:
    """What is written to a pipe has its sizes behind the content (APPNOTE 4.3.9)."""

    class Pipe(io.RawIOBase):
        content = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:  # type: ignore[override]
            self.content += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as jar:
        for name in ("a", "b", "c"):
            jar.writestr(zipfile.ZipInfo(name, TIME), name * 50)
    new = edit_entries(pipe.content, {"b": upper})
    assert local(new)["a"] == local(pipe.content)["a"]
    assert local(new)["c"] == local(pipe.content)["c"]
    with zipfile.ZipFile(io.BytesIO(new)) as jar:
        assert [jar.read(name) for name in "abc"] == [b"a" * 50, b"B" * 50, b"c" * 50]


def test_entries_that_lie_in_another_order_than_listed_are_kept_so() -> None:
    first, second = jar_bytes({"a": b"1"}, packed=False), jar_bytes({"b": b"2"}, packed=False)
    old = jar_bytes({"a": b"1", "b": b"2"}, packed=False)
    with zipfile.ZipFile(io.BytesIO(old)) as jar:
        start = jar.start_dir
    row = 46 + 1
    swapped = (
        old[:start] + old[start + row : start + 2 * row] + old[start : start + row] + old[start + 2 * row :]
    )
    new = edit_entries(swapped, {"a": lambda _content: b"one"})
    with zipfile.ZipFile(io.BytesIO(new)) as jar:
        assert jar.namelist() == ["b", "a"]
        assert (jar.read("a"), jar.read("b")) == (b"one", b"2")
    assert local(new)["b"] == local(second)["b"]
    assert local(first)["a"] == local(swapped)["a"]


@pytest.mark.parametrize("name", ["META-INF/KEY.SF", "META-INF/key.rsa", "META-INF/X.DSA", "META-INF/X.EC"])
def test_a_signed_jar_is_not_changed(name: str) -> None:
    with pytest.raises(InputError, match="it is signed"):
        edit_entries(jar_bytes({"a": b"a", name: b"sig"}), {"a": upper})


def test_an_entry_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"it holds no x/Y\.class"):
        edit_entries(jar_bytes(ENTRIES), {"x/Y.class": upper})


def test_a_name_in_an_old_encoding_is_not_rewritten() -> None:
    """Python would turn it into UTF-8 in the directory and leave it in the local header."""
    old = jar_bytes({"aaaa": b"a", "b": b"b"}).replace(b"aaaa", b"\x94\x94\x94\x94")
    with pytest.raises(InputError, match="would change the name of its entry 'öööö'"):
        edit_entries(old, {"b": upper})


def encrypted(content: bytes) -> bytes:
    """The same zip, with the encryption flag on its first entry."""
    made = bytearray(content)
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def wrong_crc(content: bytes) -> bytes:
    made = bytearray(content)
    made[30 + 1] ^= 0xFF  # the name is one letter, the content is stored
    return bytes(made)


def strange_packing(content: bytes) -> bytes:
    made = bytearray(content)
    made[made.index(b"PK\x01\x02") + 10] = 97
    return bytes(made)


def overlapping(content: bytes) -> bytes:
    made = bytearray(content)
    second = made.index(b"PK\x01\x02", made.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", made, second + 42, 0)
    return bytes(made)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (encrypted, "encrypted"),
        (wrong_crc, "Bad CRC-32"),
        (strange_packing, "compression"),
        (overlapping, "overlap"),
        (lambda content: content[:-30], "not a zip file"),
        (lambda content: content[:40] + content[60:], "damaged"),
        (lambda _content: b"", "not a zip file"),
    ],
)
def test_a_damaged_zip_is_refused_with_what_is_wrong(damage: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(InputError, match=says):
        edit_entries(damage(jar_bytes({"a": b"aaaa", "b": b"bbbb"}, packed=False)), {"a": upper})


@given(st.dictionaries(st.integers(0, 999), st.integers(0, 255), min_size=1, max_size=8), st.booleans())
def test_hostile_zips_are_rewritten_or_refused(changes: dict[int, int], packed: bool) -> None:
    content = bytearray(jar_bytes({"a": b"a" * 30, "b/c": b"b" * 30}, packed=packed))
    for at, value in changes.items():
        content[at % len(content)] = value
    with suppress(InputError):
        assert edit_entries(bytes(content), {"a": upper})


def test_no_more_is_unpacked_than_the_size_says() -> None:
    """`ZipFile.read` would first unpack all of it: 64 MiB here, two gigabytes in a bomb."""
    made = bytearray(jar_bytes({"a": bytes(64 << 20)}))
    directory = made.index(b"PK\x01\x02")
    for at in (22, directory + 24):
        struct.pack_into("<I", made, at, 1000)
    import tracemalloc

    with zipfile.ZipFile(io.BytesIO(bytes(made))) as jar:
        tracemalloc.start()
        with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
            read_entry(jar, jar.getinfo("a"))
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_an_entry_that_is_shorter_than_it_says_is_refused() -> None:
    made = bytearray(jar_bytes({"a": b"1234"}))
    struct.pack_into("<I", made, made.index(b"PK\x01\x02") + 24, 100)
    with zipfile.ZipFile(io.BytesIO(bytes(made))) as jar, pytest.raises((EOFError, zipfile.BadZipFile)):
        read_entry(jar, jar.getinfo("a"))


def test_the_unzip_program_finds_nothing_wrong(tmp_path: Path) -> None:
    unzip = "/usr/bin/unzip"
    if not Path(unzip).exists():
        pytest.skip("an independent reader: needs unzip")
    (tmp_path / "x.jar").write_bytes(edit_entries(jar_bytes(ENTRIES), {"a/A.class": upper}))
    done = subprocess.run([unzip, "-t", tmp_path / "x.jar"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
