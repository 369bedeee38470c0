"""Pushing: what is sent, what is not, and that a tag names all of what was meant or stays as it was."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders_oci import blob_of, file, image_of
from builders_registry import PASSWORD, USER, Peer, access, docker_config, make_certificate, registry
from click.testing import CliRunner

from pulsar_arm.cli import cli
from pulsar_arm.errors import HostError, InputError, PulsarArmError, UsageError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.reference import read_reference
from pulsar_arm.host.progress import Silent
from pulsar_arm.host.registry import Access, Registry
from pulsar_arm.host.registry_pull import pull
from pulsar_arm.host.registry_push import Pushed, push
from pulsar_arm.platforms import AARCH64
from pulsar_arm.publish import Publisher

BIG = random.Random(1).randbytes(3_000_000)


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with registry() as one:
        yield one


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(tmp_path / "made", [file("a", BIG)], [file("b", b"two")])


@pytest.fixture
def amd64(tmp_path: Path) -> Image:
    return image_of(tmp_path / "made", [file("a", b"amd64")], architecture="amd64")


def sent(
    tmp_path: Path,
    peer: Peer,
    name: str,
    *images: Image,
    force: bool = False,
    siblings: Sequence[str] = (),
    told: Told | None = None,
) -> Pushed:
    how, progress = access(tmp_path, peer), told or Told()
    remote = Registry(peer.host, how, progress)
    reference = read_reference(f"{peer.host}/{name}")
    return push(images, reference, remote, progress, force=force, siblings=siblings)


def refused(
    tmp_path: Path, peer: Peer, name: str, *images: Image, says: str, kind: type[PulsarArmError] = HostError
) -> None:
    with pytest.raises(kind, match=says) as caught:
        sent(tmp_path, peer, name, *images)
    assert str(caught.value).endswith(".")
    assert PASSWORD not in str(caught.value)


def test_an_image_that_was_pushed_can_be_pulled(tmp_path: Path, peer: Peer, image: Image) -> None:
    pushed = sent(tmp_path, peer, "acme/x:1", image)
    assert (pushed.digest, pushed.sent, pushed.unchanged) == (image.digest, pushed.size, False)
    assert peer.received == pushed.size
    reference = read_reference(f"{peer.host}/acme/x:1")
    layout = pull(reference, (AARCH64,), tmp_path / "cache", access(tmp_path), Silent())
    assert read_image(layout, AARCH64) == image


def test_an_image_inside_an_archive_is_pushed_from_there(tmp_path: Path, peer: Peer, image: Image) -> None:
    write_archive(image, tmp_path / "x.tar", "x:1")
    assert sent(tmp_path, peer, "x:1", read_image(tmp_path / "x.tar", AARCH64)).digest == image.digest
    assert peer.blobs["x", image.config_digest] == image.config


def test_a_second_push_sends_nothing(tmp_path: Path, peer: Peer, image: Image) -> None:
    sent(tmp_path, peer, "x:1", image)
    before = peer.received
    again = sent(tmp_path, peer, "x:1", image)
    other = sent(tmp_path, peer, "x:2", image)
    assert (again.sent, again.unchanged, other.sent, other.unchanged) == (0, True, 0, False)
    assert peer.received == before
    assert peer.tag("x", "2") == peer.tag("x", "1")


def test_of_a_changed_image_only_the_changed_layer_is_sent(tmp_path: Path, peer: Peer, image: Image) -> None:
    sent(tmp_path, peer, "x:1", image)
    changed = image_of(tmp_path / "made", [file("a", BIG)], [file("b", b"new")])
    assert sent(tmp_path, peer, "x:2", changed).sent == changed.layers[1].size + len(changed.config)


def test_a_layer_that_stands_in_an_image_twice_is_sent_once(tmp_path: Path, peer: Peer) -> None:
    layer = [file("a", BIG)]
    image = image_of(tmp_path / "made", layer, layer)
    assert sent(tmp_path, peer, "x:1", image).sent == image.layers[0].size + len(image.config)


def test_layers_are_taken_over_from_a_sibling(tmp_path: Path, peer: Peer, image: Image) -> None:
    sent(tmp_path, peer, "acme/x:1", image)
    peer.auth = "bearer"
    pushed = sent(tmp_path, peer, "acme/y:1", image, siblings=["acme/x"])
    assert (pushed.sent, pushed.mounted) == (0, 3)


def test_where_mounts_are_refused_the_upload_that_was_begun_instead_is_used(
    tmp_path: Path, peer: Peer, image: Image
) -> None:
    sent(tmp_path, peer, "x:1", image)
    peer.faults.no_mounts = True
    pushed = sent(tmp_path, peer, "y:1", image, siblings=["x"])
    assert (pushed.sent, pushed.mounted, peer.uploads) == (pushed.size, 0, {})


def test_several_platforms_become_one_index(tmp_path: Path, peer: Peer, image: Image, amd64: Image) -> None:
    pushed = sent(tmp_path, peer, "x:1", amd64, image)
    rows = peer.tag("x", "1")["manifests"]
    assert [(row["digest"], row["platform"]["architecture"]) for row in rows] == [
        (amd64.digest, "amd64"),
        (image.digest, "arm64"),
    ]
    assert pushed.platforms == ("linux/amd64", "linux/arm64")
    assert sent(tmp_path, peer, "x:1", amd64, image).unchanged


def test_a_tag_that_names_another_image_is_left_alone(
    tmp_path: Path, peer: Peer, image: Image, amd64: Image
) -> None:
    sent(tmp_path, peer, "x:1", amd64, image)
    before = dict(peer.manifests)
    says = r"/x:1 exists already .*linux/amd64 and linux/arm64\): choose another --tag.*--force"
    refused(tmp_path, peer, "x:1", image, says=says, kind=UsageError)
    assert peer.manifests == before
    told = Told()
    sent(tmp_path, peer, "x:1", image, force=True, told=told)
    assert peer.manifests["x", "1"][1] == image.manifest
    assert any("it is replaced" in note for note in told.notes)


def test_the_tag_is_the_last_that_is_written(tmp_path: Path, peer: Peer, image: Image, amd64: Image) -> None:
    sent(tmp_path, peer, "x:1", amd64, image)
    puts = [one.rpartition("/")[2] for one in peer.asked if one.startswith("PUT") and "manifests" in one]
    assert puts[:2] == [amd64.digest, image.digest]
    assert puts[3:] == ["1"]


def test_a_platform_that_cannot_be_pushed_leaves_the_tag_as_it_was(
    tmp_path: Path, peer: Peer, image: Image, amd64: Image
) -> None:
    sent(tmp_path, peer, "x:1", image)
    before = peer.manifests["x", "1"]
    peer.faults.statuses["PUT"] = [0, 0, 0, 0, 400]  # two blobs, two manifests, and then the index
    with pytest.raises(HostError, match="is refused"):
        sent(tmp_path, peer, "x:1", amd64, image, force=True)
    assert peer.manifests["x", "1"] == before


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_push_logs_in(tmp_path: Path, peer: Peer, image: Image, kind: str) -> None:
    peer.auth = kind
    sent(tmp_path, peer, "x:1", image)
    assert peer.tag("x", "1")


def test_a_token_that_expires_in_the_middle_is_got_anew(tmp_path: Path, peer: Peer, image: Image) -> None:
    peer.auth, peer.faults.expire = "bearer", 9
    sent(tmp_path, peer, "x:1", image)
    assert peer.count("GET", "/token") == 2


def test_a_wrong_password_is_refused_before_anything_is_sent(
    tmp_path: Path, peer: Peer, image: Image
) -> None:
    peer.auth = "basic"
    docker_config(tmp_path / "docker", peer.host, password="wrong")
    refused(tmp_path, peer, "x:1", image, says="refuses user, the login in")
    assert peer.received == 0


def test_who_may_only_pull_is_told_so(tmp_path: Path, peer: Peer, image: Image) -> None:
    peer.auth, peer.read_only = "bearer", True
    refused(tmp_path, peer, "x:1", image, says="/x refuses user.* may not do that")


@pytest.mark.parametrize("forgets", [False, True])
def test_an_upload_that_was_cut_goes_on_or_begins_anew(
    tmp_path: Path, peer: Peer, image: Image, forgets: bool
) -> None:
    peer.faults.cut_uploads, peer.faults.forget_uploads = [1_000_000, 0], forgets
    pushed = sent(tmp_path, peer, "x:1", image)
    assert peer.tag("x", "1")
    assert peer.uploads == {}
    if not forgets:
        assert peer.received < pushed.size + 1000


def test_an_upload_whose_last_answer_was_lost_is_not_sent_again(
    tmp_path: Path, peer: Peer, image: Image
) -> None:
    peer.faults.lost_answers = 1
    pushed = sent(tmp_path, peer, "x:1", image)
    assert peer.received == pushed.size


def test_a_registry_without_room_is_quoted_and_left_clean(tmp_path: Path, peer: Peer, image: Image) -> None:
    peer.faults.statuses["PUT"] = [500] * 50
    peer.faults.message = "write /data: no space left on device"
    refused(tmp_path, peer, "x:1", image, says=r"500 .*no space left on device.*has room")
    assert (peer.manifests, peer.uploads) == ({}, {})


def test_a_layer_that_changed_since_it_was_built_is_not_pushed(tmp_path: Path, peer: Peer) -> None:
    layer = blob_of(b"as built" * 1000, tmp_path / "made")
    image = image_of(tmp_path / "made", layer)
    layer.path.write_bytes(b"not that" * 1000)
    refused(tmp_path, peer, "x:1", image, says="has other bytes now", kind=InputError)
    assert ("x", layer.digest) not in peer.blobs
    assert peer.manifests == {}


def test_what_the_registry_shows_after_a_push_is_compared(tmp_path: Path, peer: Peer, image: Image) -> None:
    peer.faults.rewrite = image.manifest + b"\n"
    with pytest.raises(HostError, match=r"is sha256:\w+ after the push, not sha256:"):
        sent(tmp_path, peer, "x:1", image, force=True)


def test_a_push_without_a_registry_in_its_tag_is_refused_before_the_work() -> None:
    outcome = CliRunner().invoke(cli, ["build", "--push"])
    assert isinstance(outcome.exception, UsageError)
    assert "--push needs --tag" in str(outcome.exception)


@pytest.mark.parametrize("pair", ["ghcr.io", "=x", "ghcr.io=", "ghcr.io=UPPER CASE"])
def test_a_mirror_that_names_no_two_hosts_is_a_usage_error(pair: str) -> None:
    outcome = CliRunner().invoke(cli, ["--registry-mirror", pair, "scan", "x"])
    assert (outcome.exit_code, "no HOST=HOST[/PREFIX]" in outcome.output) == (2, True)


def test_an_unreachable_registry_is_told_before_anything_is_built(tmp_path: Path, peer: Peer) -> None:
    peer.auth = "basic"
    references = [f"{peer.host}/acme/pulsar:1"]
    with pytest.raises(HostError, match="wants a login"):
        Publisher(references, access(tmp_path), Silent(), to_registry=True, to_engine=False, force=False)


def test_images_of_one_build_share_what_was_pushed(tmp_path: Path, peer: Peer, image: Image) -> None:
    told, names = Told(), [f"{peer.host}/acme/{name}:1" for name in ("pulsar", "pulsar-all")]
    publisher = Publisher(names, access(tmp_path), told, to_registry=True, to_engine=False, force=False)
    for name in names:
        publisher.publish(name, tmp_path / "no archive is read", [image])
    assert peer.received == sum(layer.size for layer in image.layers) + len(image.config)
    assert ", 0.0 of 3.0 MB sent: sha256:" in told.notes[-1]


# With a real registry server, and independent readers where they are


@contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """distribution's own server with TLS and a password: gives its host."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    htpasswd = shutil.which("htpasswd")
    if not program or not htpasswd:
        pytest.skip("no registry server: apt-get install docker-registry apache2-utils")
    certificate = make_certificate(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [htpasswd, "-Bbn", USER, PASSWORD]
    made = subprocess.run(words, check=True, capture_output=True, timeout=30)
    (folder / "htpasswd").write_bytes(made.stdout)
    config = folder / "config.yml"
    config.write_text(
        f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder / "data"}}}}}
http:
  addr: 127.0.0.1:{port}
  secret: made
  tls: {{certificate: {certificate}, key: {folder / "key.pem"}}}
auth: {{htpasswd: {{realm: made, path: {folder / "htpasswd"}}}}}
"""
    )
    command = [program, "serve", str(config)]
    process = start(command, port)
    try:
        yield f"localhost:{port}"
    finally:
        process.kill()
        process.wait(30)


def start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            attempt.settimeout(1)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"{command} does not listen")


def test_a_real_registry_takes_an_index_and_skopeo_reads_it_back(
    tmp_path: Path, image: Image, amd64: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    with real_registry(tmp_path) as host:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        how = Access(config=docker_config(tmp_path / "docker", host), certificates=tmp_path / "none")
        for name, siblings in (("acme/pulsar:1", []), ("acme/pulsar-all:1", ["acme/pulsar"])):
            remote = Registry(host, how, Silent())
            reference = read_reference(f"{host}/{name}")
            pushed = push([amd64, image], reference, remote, Silent(), siblings=siblings)
        assert (pushed.sent, pushed.mounted) == (0, 5)
        layout = pull(reference, (AARCH64,), tmp_path / "cache", how, Silent())
        assert read_image(layout, AARCH64) == image
        if skopeo := shutil.which("skopeo"):
            words = ["copy", "--all", "--src-tls-verify=false", "--src-creds", f"{USER}:{PASSWORD}"]
            places = [f"docker://{reference}", f"oci:{tmp_path / 'copied'}:1"]
            subprocess.run([skopeo, *words, *places], check=True, capture_output=True, timeout=120)
            assert read_image(tmp_path / "copied", AARCH64).digest == image.digest
