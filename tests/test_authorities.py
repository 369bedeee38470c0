from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from builders_oci import file, folder, image_of, symlink

from pulsar_arm.authorities import authority_layer, read_authorities
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats.jks import read_truststore, write_truststore
from pulsar_arm.formats.layer import LayerEntry, write_layer_blob
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import root_entries

OLD = b"an authority that the base trusts already"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real certificate of an authority, made by openssl."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    place = tmp_path_factory.mktemp("authority")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -subj /CN=Made -days 3650"
    subprocess.run(words.split(), cwd=place, check=True, capture_output=True)
    return place / "ca.pem"


def der_of(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def system(blobs: Path, *more: LayerEntry, store: bytes = b"") -> Image:
    store = store or write_truststore([("old", OLD)])
    return image_of(
        blobs,
        [
            folder("etc"),
            folder("etc/ssl"),
            folder("etc/ssl/certs", 0o755),
            file("etc/ssl/certs/ca-certificates.crt", ssl.DER_cert_to_PEM_cert(OLD).encode()),
            symlink("etc/ssl/cert.pem", "certs/ca-certificates.crt"),
            folder("etc/ssl/java"),
            file("etc/ssl/java/cacerts", store, 0o600, 0, 7),
            folder("opt"),
            symlink("opt/jvm", "jvm-17"),
            folder("opt/jvm-17"),
            folder("opt/jvm-17/lib"),
            folder("opt/jvm-17/lib/security"),
            symlink("opt/jvm-17/lib/security/cacerts", "/etc/ssl/java/cacerts"),
            *more,
        ],
    )


def test_the_bundle_and_the_truststore_of_an_image_gain_the_authority(
    tmp_path: Path, authority: Path
) -> None:
    base = system(tmp_path)
    layer = authority_layer(base, "/opt/jvm", read_authorities([authority]))
    files = {entry.path: entry for entry in layer.entries if entry.kind == "file"}
    assert set(files) == {"etc/ssl/certs/ca-certificates.crt", "etc/ssl/java/cacerts"}
    store = files["etc/ssl/java/cacerts"]
    assert (store.mode, store.gid) == (0o600, 7)
    assert isinstance(store.source, bytes)
    assert {der for _, der in read_truststore(store.source)} == {OLD, der_of(authority)}
    # Nothing else of the base changes: on top of it, the layer gives the same tree but for the two files.
    blob = write_layer_blob(layer.entries, tmp_path)
    before = {one.entry.path: one.entry for one in root_entries(base)}
    after = {one.entry.path: one.entry for one in root_entries(Image(base.config, (*base.layers, blob)))}
    assert after == before
    bundle = files["etc/ssl/certs/ca-certificates.crt"].source
    assert isinstance(bundle, bytes)
    assert bundle.startswith(ssl.DER_cert_to_PEM_cert(OLD).encode())
    assert ssl.DER_cert_to_PEM_cert(der_of(authority)).encode() in bundle


def test_an_authority_that_is_there_is_not_added_again(tmp_path: Path, authority: Path) -> None:
    first = authority_layer(system(tmp_path), "/opt/jvm", read_authorities([authority, authority]))
    contents = {entry.path: entry.source for entry in first.entries if entry.kind == "file"}
    again = authority_layer(
        image_of(tmp_path, [*system_entries(contents)]), "/opt/jvm-17", read_authorities([authority])
    )
    assert {entry.path: entry.source for entry in again.entries if entry.kind == "file"} == contents


def system_entries(contents: dict[str, bytes | Path | None]) -> list[LayerEntry]:
    bundle, store = (contents[path] for path in sorted(contents))
    assert isinstance(bundle, bytes)
    assert isinstance(store, bytes)
    folders = ("etc", "etc/ssl", "etc/ssl/certs", "etc/ssl/java", "opt", "opt/jvm-17", "opt/jvm-17/lib")
    return [
        *(folder(path) for path in (*folders, "opt/jvm-17/lib/security")),
        file("etc/ssl/certs/ca-certificates.crt", bundle),
        file("etc/ssl/java/cacerts", store),
        symlink("opt/jvm-17/lib/security/cacerts", "/etc/ssl/java/cacerts"),
    ]


def test_a_truststore_that_is_no_jks_is_made_anew_out_of_the_bundle(tmp_path: Path, authority: Path) -> None:
    base = system(tmp_path, store=b"\x30\x82 PKCS 12")
    layer = authority_layer(base, "/opt/jvm", read_authorities([authority]))
    store = next(entry.source for entry in layer.entries if entry.path.endswith("cacerts"))
    assert isinstance(store, bytes)
    assert {der for _, der in read_truststore(store)} == {OLD, der_of(authority)}


def test_an_image_without_bundle_or_truststore_is_told(tmp_path: Path, authority: Path) -> None:
    with pytest.raises(InputError, match="no CA bundle"):
        authority_layer(image_of(tmp_path, [file("x")]), "/opt/jvm", read_authorities([authority]))
    with pytest.raises(InputError, match="no truststore under /opt/other"):
        authority_layer(system(tmp_path), "/opt/other", read_authorities([authority]))
    broken = system(tmp_path, store=write_truststore([("old", OLD)])[:40])
    with pytest.raises(InputError, match="/etc/ssl/java/cacerts cannot be extended"):
        authority_layer(broken, "/opt/jvm", read_authorities([authority]))


def test_links_that_go_round_are_no_bundle(tmp_path: Path, authority: Path) -> None:
    round_ = [folder("etc"), folder("etc/ssl"), symlink("etc/ssl/cert.pem", "cert.pem")]
    with pytest.raises(InputError, match="no CA bundle"):
        authority_layer(image_of(tmp_path, round_), "/opt/jvm", read_authorities([authority]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds what is no certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key"),
    ],
)
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_authorities([path])
    with pytest.raises(UsageError, match="cannot be read"):
        read_authorities([tmp_path / "absent.pem"])


def test_a_truststore_reads_back_as_it_was_written() -> None:
    entries = [("a", b"1"), ("b", b"22")]
    assert read_truststore(write_truststore(entries)) == entries
    with pytest.raises(ValueError, match="no JKS"):
        read_truststore(b"\0" * 64)


def test_keytool_lists_the_truststore(tmp_path: Path, authority: Path) -> None:
    if not shutil.which("keytool"):
        pytest.skip("no JDK is installed")
    store = tmp_path / "cacerts"
    store.write_bytes(write_truststore([("made", der_of(authority))]))
    words = ["keytool", "-list", "-keystore", str(store), "-storepass", "changeit"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "1 entry" in listed
    assert hashlib.sha256(der_of(authority)).hexdigest().upper() in listed.replace(":", "")
