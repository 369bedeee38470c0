"""Pulling, and logins: from a registry in memory that speaks the protocol, over TLS where that matters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from builders_oci import file, image_of
from builders_registry import (
    IDENTITY,
    PASSWORD,
    USER,
    Peer,
    access,
    docker_config,
    make_certificate,
    registry,
)

from pulsar_arm.errors import HostError, InputError, PulsarArmError
from pulsar_arm.formats.oci import INDEX, MANIFEST, Image, digest, render
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.reference import read_reference
from pulsar_arm.host.progress import Silent
from pulsar_arm.host.registry import Access
from pulsar_arm.host.registry_pull import pull
from pulsar_arm.platforms import AARCH64, X86_64, Platform


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def peer(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """A registry with TLS, whose certificate is trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with registry(certificate) as one:
        yield one


def keep(peer: Peer, name: str, tag: str, *images: Image) -> None:
    """Have the registry keep an image, or an index over several."""
    rows = []
    for image in images:
        for layer in image.layers:
            with layer.open() as stored:
                peer.blobs[name, layer.digest] = stored.read()
        peer.blobs[name, image.config_digest] = image.config
        peer.manifests[name, image.digest] = peer.manifests[name, tag] = (MANIFEST, image.manifest)
        system, _, machine = image.platform.partition("/")
        platform = {"os": system, "architecture": machine}
        row = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest)}
        rows.append({**row, "platform": platform})
    if len(images) > 1:
        index = render({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
        peer.manifests[name, tag] = peer.manifests[name, digest(index)] = (INDEX, index)


def brought(
    tmp_path: Path,
    name: str,
    how: Access,
    platforms: Sequence[Platform] = (AARCH64,),
    *,
    offline: bool = False,
) -> Path:
    return pull(read_reference(name), platforms, tmp_path / "cache", how, Silent(), offline=offline)


def refused(tmp_path: Path, name: str, how: Access, says: str, kind: type[PulsarArmError] = HostError) -> str:
    with pytest.raises(kind, match=says) as caught:
        brought(tmp_path, name, how)
    assert PASSWORD not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(tmp_path / "made", [file("a", b"one" * 9000)], [file("b", b"two")])


def test_an_image_comes_as_the_registry_has_it_and_only_once(
    tmp_path: Path, peer: Peer, image: Image
) -> None:
    keep(peer, "acme/pulsar", "1", image)
    layout = brought(tmp_path, f"{peer.host}/acme/pulsar:1", access(tmp_path))
    assert read_image(layout, AARCH64).digest == image.digest
    assert layout.name == image.digest.removeprefix("sha256:")
    asked = peer.count("GET", "/blobs/")
    assert asked == 3
    assert brought(tmp_path, f"{peer.host}/acme/pulsar:1", access(tmp_path)) == layout
    assert peer.count("GET", "/blobs/") == asked


def test_layers_that_another_image_brought_are_not_brought_again(
    tmp_path: Path, peer: Peer, image: Image
) -> None:
    other = image_of(tmp_path / "made", [file("a", b"one" * 9000)], [file("c", b"three")])
    keep(peer, "x", "1", image)
    keep(peer, "x", "2", other)
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))
    brought(tmp_path, f"{peer.host}/x:2", access(tmp_path))
    assert peer.count("GET", f"/blobs/{image.layers[0].digest}") == 1


def test_of_an_index_the_wanted_platform_is_taken(tmp_path: Path, peer: Peer, image: Image) -> None:
    amd64 = image_of(tmp_path / "made", [file("a", b"amd64")], architecture="amd64")
    keep(peer, "x", "1", amd64, image)
    name = f"{peer.host}/x:1"
    assert read_image(brought(tmp_path, name, access(tmp_path)), AARCH64).digest == image.digest
    layout = brought(tmp_path, name, access(tmp_path), (X86_64, AARCH64))
    assert read_image(layout, X86_64).digest == amd64.digest


def test_an_image_for_another_platform_is_refused_before_its_layers_come(tmp_path: Path, peer: Peer) -> None:
    amd64 = image_of(tmp_path / "made", [file("a", b"amd64")], architecture="amd64")
    keep(peer, "x", "1", amd64)
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), "is for linux/amd64, but linux/arm64", InputError)
    assert peer.count("GET", f"/blobs/{amd64.layers[0].digest}") == 0
    assert read_image(brought(tmp_path, f"{peer.host}/x:1", access(tmp_path), (AARCH64, X86_64)), X86_64)


def test_an_image_by_digest_must_have_that_digest(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    name = f"{peer.host}/x@{image.digest}"
    brought(tmp_path, name, access(tmp_path))
    peer.manifests["x", image.digest] = (MANIFEST, image.manifest + b" ")
    refused(tmp_path, name, access(tmp_path), "has other bytes under sha256:")


def test_a_layer_with_other_bytes_is_refused(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.blobs["x", image.layers[0].digest] = b"wrong"
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), r"came with sha256 .*; run again, or push")
    assert not list((tmp_path / "cache" / "images").glob("*/oci-layout"))


def test_offline_only_what_was_pulled_before_serves(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    name = f"{peer.host}/x:1"
    with pytest.raises(HostError, match="--offline"):
        brought(tmp_path, name, access(tmp_path), offline=True)
    layout = brought(tmp_path, name, access(tmp_path))
    assert brought(tmp_path, name, access(tmp_path), offline=True) == layout


def test_what_is_not_there_is_told_with_its_name(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    refused(tmp_path, f"{peer.host}/x:2", access(tmp_path), r"/x:2 does not exist \(no such image")
    refused(tmp_path, f"{peer.host}/y:2", access(tmp_path), r"/y:2 does not exist \(no such repository")


def test_a_registry_that_stumbles_is_asked_again(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.faults.statuses["GET"] = [503, 0, 429, 0, 500]
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))


def test_a_registry_that_stays_broken_is_quoted(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.faults.statuses["GET"] = [500] * 9
    peer.faults.message = "no space left on device"
    said = refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), r"500 .*no space left on device.*3 times")
    assert "has room" in said


def test_a_refusal_is_not_tried_again(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.faults.statuses["GET"] = [418]
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), "is refused")
    assert len(peer.asked) == 1


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_the_login_of_docker_is_used(tmp_path: Path, peer: Peer, image: Image, kind: str) -> None:
    keep(peer, "x", "1", image)
    peer.auth = kind
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path, peer))


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_wrong_password_is_told_once_with_where_it_came_from(
    tmp_path: Path, peer: Peer, image: Image, kind: str
) -> None:
    peer.auth = kind
    docker_config(tmp_path / "docker", peer.host, password="wrong")
    said = refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), "refuses user, the login in ")
    assert f"docker login {peer.host}" in said
    assert str(tmp_path / "docker" / "config.json") in said
    assert len(peer.asked) <= 3


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_without_a_login_the_command_that_makes_one_is_told(tmp_path: Path, peer: Peer, kind: str) -> None:
    peer.auth = kind
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), f"run docker login {peer.host}")


def test_a_token_that_expires_is_got_anew(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.auth, peer.faults.expire = "bearer", 5
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path, peer))
    assert peer.count("GET", "/token") == 2


def test_an_identity_token_is_redeemed(tmp_path: Path, peer: Peer, image: Image) -> None:
    keep(peer, "x", "1", image)
    peer.auth = "bearer"
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {f"https://{peer.host}/v1/": {"identitytoken": IDENTITY}}}))
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))
    assert peer.count("POST", "/token") == 1


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A credential helper called docker-credential-made, before all others on the path."""
    program = tmp_path / "bin" / "docker-credential-made"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 3\nread server\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_credential_helper_is_asked_for_the_host(
    tmp_path: Path, peer: Peer, image: Image, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    keep(peer, "x", "1", image)
    peer.auth = "basic"
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper(tmp_path, monkeypatch, f"[ \"$server\" = {peer.host} ] && echo '{answer}'")
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({key: "made" if key == "credsStore" else {peer.host: "made"}}))
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))


def test_a_helper_that_keeps_nothing_leaves_the_file_to_tell(
    tmp_path: Path, peer: Peer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(peer, "x", "1", image)
    peer.auth = "basic"
    helper(tmp_path, monkeypatch, "echo 'credentials not found in native keychain'; exit 1")
    config = docker_config(tmp_path / "docker", peer.host)
    config.write_text(json.dumps({**json.loads(config.read_text()), "credsStore": "made"}))
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'the keychain is locked' >&2; exit 1", "docker-credential-made .*the keychain is locked"),
        ("echo nonsense", "something else than JSON"),
    ],
)
def test_a_broken_helper_is_named(
    tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    peer.auth = "basic"
    helper(tmp_path, monkeypatch, script)
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"credsStore": "made"}')
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), says)


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path, peer: Peer) -> None:
    peer.auth = "basic"
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"credsStore": "nowhere-to-be-found"}')
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), "docker-credential-nowhere-to-be-found is not")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"auths": 1}', '{"credHelpers": []}x', '{"auths": {"HOST": {"auth": "?"}}}'],
)
def test_a_broken_config_is_told_with_its_path(tmp_path: Path, peer: Peer, content: str) -> None:
    peer.auth = "basic"
    config = tmp_path / "docker" / "config.json"
    config.parent.mkdir()
    config.write_text(content.replace("HOST", peer.host))
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), str(config), InputError)


def test_a_certificate_that_nobody_signed_is_refused(
    tmp_path: Path, peer: Peer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    keep(peer, "x", "1", image)
    name = f"{peer.host}/x:1"
    refused(tmp_path, name, access(tmp_path), f"is not trusted: .*--insecure-registry {peer.host}")
    assert peer.asked == []
    brought(tmp_path, name, access(tmp_path, insecure=frozenset({peer.host})))


def test_a_certificate_in_the_engines_folder_is_trusted(
    tmp_path: Path, peer: Peer, image: Image, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    keep(peer, "x", "1", image)
    folder = tmp_path / "certs.d" / peer.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    brought(tmp_path, f"{peer.host}/x:1", access(tmp_path))


def test_plain_http_is_spoken_to_this_machine_alone(tmp_path: Path, image: Image) -> None:
    with registry() as plain:
        keep(plain, "x", "1", image)
        brought(tmp_path, f"{plain.host}/x:1", access(tmp_path))
        elsewhere = plain.host.replace("127.0.0.1", "0.0.0.0")  # leads here, and is no loopback address
        refused(tmp_path, f"{elsewhere}/x:1", access(tmp_path), "does not speak TLS .*--insecure-registry")
        brought(tmp_path, f"{elsewhere}/x:1", access(tmp_path, insecure=frozenset({elsewhere})))


def test_nothing_that_answers_is_told_as_a_sentence(tmp_path: Path) -> None:
    refused(
        tmp_path, "localhost:9/x:1", access(tmp_path), "could not be reached: Connection refused, 3 times"
    )


def test_what_answers_but_is_no_registry_is_told(tmp_path: Path, peer: Peer) -> None:
    peer.faults.statuses["GET"] = [404]
    refused(tmp_path, f"{peer.host}/x:1", access(tmp_path), "is no registry")


def test_a_mirror_is_asked_first_and_the_registry_where_it_lacks_the_image(
    tmp_path: Path, peer: Peer, image: Image, certificate: Path
) -> None:
    keep(peer, "x", "1", image)
    with registry(certificate) as mirror:
        keep(mirror, "cached/x", "2", image)
        how = access(tmp_path, mirrors={peer.host: f"{mirror.host}/cached"})
        brought(tmp_path, f"{peer.host}/x:2", how)
        assert peer.asked == []
        brought(tmp_path, f"{peer.host}/x:1", how)
        assert peer.count("GET", "/manifests/1") == 1
        assert mirror.count("GET", "/v2/cached/x/manifests/1") == 1
