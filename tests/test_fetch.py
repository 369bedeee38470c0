from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders_maven import Server, maven_server

from pulsar_arm import __version__
from pulsar_arm.errors import HostError
from pulsar_arm.host.cache import Stored, exclusive, stored
from pulsar_arm.host.fetch import download
from pulsar_arm.host.progress import Silent
from pulsar_arm.host.web import Client, NotThereError, Patience

QUICK = Patience(attempts=3, pause=0.01, connect=5, read=5)
BODY = bytes(range(256)) * 4096
SHA1 = hashlib.sha1(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()


class Told(Silent):
    """Remembers what was said and how far the bar came."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total: int | None = None
        self.done = 0

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        self.total = total
        yield self._advance

    def _advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def server() -> Iterator[Server]:
    with maven_server() as one:
        one.files["file.tar.gz"] = BODY
        yield one


def bring(
    server: Server,
    path: Path,
    *,
    told: Told | None = None,
    sha1: str | None = None,
    sha256: str | None = None,
) -> Stored:
    told = told or Told()
    client = Client(told, patience=QUICK)
    with exclusive(path, told):
        return download(
            client, f"{server.url}/file.tar.gz", path, progress=told, label="file", sha1=sha1, sha256=sha256
        )


def ranges(server: Server) -> list[str]:
    return [asked.headers.get("Range", "") for asked in server.gets("file.tar.gz")]


def test_a_file_is_brought_whole_and_its_progress_told(server: Server, tmp_path: Path) -> None:
    told = Told()
    kept = bring(server, tmp_path / "new" / "file", told=told, sha1=SHA1)
    assert kept == Stored(tmp_path / "new" / "file", SHA256, len(BODY)) == stored(kept.path)
    assert kept.path.read_bytes() == BODY
    assert (told.total, told.done, told.notes) == (len(BODY), len(BODY), [])
    assert server.asked[0].headers["User-Agent"] == f"pulsar-arm/{__version__}"
    assert not kept.path.with_name("file.part").exists()


def test_a_cut_download_goes_on_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    server.faults.cuts = [300_000, 400_000]
    server.faults.etag = '"v1"'
    told = Told()
    assert bring(server, tmp_path / "file", told=told).sha256 == SHA256
    assert ranges(server) == ["", "bytes=300000-", "bytes=700000-"]
    assert [asked.headers.get("If-Range") for asked in server.asked] == [None, '"v1"', '"v1"']
    assert told.done == len(BODY)
    assert "cut" in told.notes[0]


def test_attempts_that_come_further_are_not_counted(server: Server, tmp_path: Path) -> None:
    server.faults.cuts = [100_000] * 8
    assert bring(server, tmp_path / "file").sha256 == SHA256


def test_a_weak_etag_is_not_used_for_ranges(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.etag = [1000], 'W/"v1"'
    assert bring(server, tmp_path / "file").sha256 == SHA256
    assert "If-Range" not in server.asked[1].headers


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.ranges = [300_000], False
    told = Told()
    assert bring(server, tmp_path / "file", told=told).sha256 == SHA256
    assert (len(server.asked), told.done) == (2, len(BODY))


def test_a_server_without_ranges_that_always_cuts_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.ranges = [1000] * 20, False
    with pytest.raises(HostError, match=r"could not be read: .*cut.* times in a row"):
        bring(server, tmp_path / "file")


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.etag = [300_000], '"v1"'

    class Changing(Told):
        def note(self, sentence: str) -> None:
            server.files["file.tar.gz"], server.faults.etag = BODY[::-1], '"v2"'

    kept = bring(server, tmp_path / "file", told=Changing())
    assert kept.path.read_bytes() == BODY[::-1]


def test_a_file_of_another_length_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.faults.cuts = [300_000]

    class Changing(Told):
        def note(self, sentence: str) -> None:
            server.files["file.tar.gz"] = BODY[::-1] + b"more"

    kept = bring(server, tmp_path / "file", told=Changing())
    assert kept.path.read_bytes() == BODY[::-1] + b"more"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_passing_refusals_are_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.faults.statuses = [status, status]
    assert bring(server, tmp_path / "file").sha256 == SHA256
    assert len(server.asked) == 3


def test_a_server_that_asks_for_a_wait_gets_it(server: Server, tmp_path: Path) -> None:
    server.faults.statuses, server.faults.retry_after = [503], "1"
    began = time.monotonic()
    bring(server, tmp_path / "file")
    assert time.monotonic() - began >= 1


def test_a_server_that_stays_broken_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults.statuses = [500] * 9
    with pytest.raises(HostError, match=r"the server answers 500 .*, 3 times in a row; check the network"):
        bring(server, tmp_path / "file")
    assert len(server.asked) == 3
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("status", [400, 401, 403, 407])
def test_other_refusals_are_final(server: Server, tmp_path: Path, status: int) -> None:
    server.faults.statuses = [status]
    with pytest.raises(HostError, match=f"is refused .{status}"):
        bring(server, tmp_path / "file")
    assert len(server.asked) == 1


def test_what_is_not_there_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(NotThereError, match="does not exist"):
        bring(server, tmp_path / "file")
    assert len(server.asked) == 1
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_closed_port_is_named_without_the_layers_around_it(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        Client(Told(), patience=QUICK).open("http://user:secret@127.0.0.1:9/file")
    assert "http://127.0.0.1:9/file could not be read: Connection refused, 3 times" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_silent_server_is_not_waited_for_without_end(server: Server) -> None:
    server.faults.delay = 2
    with pytest.raises(HostError, match="no answer in time"):
        Client(Told(), patience=Patience(attempts=1, read=0.2)).open(f"{server.url}/file.tar.gz")


def test_a_wrong_digest_leaves_nothing_and_the_old_file_stays(server: Server, tmp_path: Path) -> None:
    old = bring(server, tmp_path / "file")
    server.files["file.tar.gz"] = b"something else"
    with pytest.raises(HostError, match=f"sha1 [0-9a-f]{{40}} where {SHA1} is published"):
        bring(server, old.path, sha1=SHA1)
    with pytest.raises(HostError, match=f"sha256 [0-9a-f]{{64}} where {SHA256} is expected"):
        bring(server, old.path, sha256=SHA256)
    assert not (tmp_path / "file.part").exists()
    assert stored(old.path) == old


def test_the_part_of_an_earlier_run_is_continued_when_a_digest_proves_the_sum(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:500_000])
    told = Told()
    assert bring(server, tmp_path / "file", sha256=SHA256, told=told).sha256 == SHA256
    assert (ranges(server), told.done) == (["bytes=500000-"], len(BODY))


def test_a_wrong_part_of_an_earlier_run_costs_one_more_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"?" * 500_000)
    told = Told()
    assert bring(server, tmp_path / "file", sha1=SHA1, told=told).sha256 == SHA256
    assert (ranges(server), told.done) == (["bytes=500000-", ""], len(BODY))


def test_the_part_of_an_earlier_run_is_dropped_when_nothing_would_prove_the_sum(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(b"?" * 500_000)
    assert bring(server, tmp_path / "file").sha256 == SHA256
    assert ranges(server) == [""]


@pytest.mark.parametrize("surplus", [b"", b"too much"])
def test_a_part_that_has_nothing_left_to_fetch_is_settled(
    server: Server, tmp_path: Path, surplus: bytes
) -> None:
    (tmp_path / "file.part").write_bytes(BODY + surplus)
    assert bring(server, tmp_path / "file", sha1=SHA1).sha256 == SHA256
    assert ranges(server) == [f"bytes={len(BODY + surplus)}-", *([""] if surplus else [])]


def test_a_part_is_never_taken_for_the_file(server: Server, tmp_path: Path) -> None:
    server.faults.cuts = [1000, 0, 0, 0, 0]
    with pytest.raises(HostError):
        bring(server, tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size == 1000
    assert stored(tmp_path / "file") is None


def test_a_cut_of_a_chunked_body_is_noticed(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.chunked = [1000], True
    assert bring(server, tmp_path / "file").sha256 == SHA256


def test_a_body_whose_end_nothing_proves_is_refused_unless_a_digest_does(
    server: Server, tmp_path: Path
) -> None:
    server.faults.lengthless = True
    with pytest.raises(HostError, match="neither a length nor a checksum"):
        bring(server, tmp_path / "file")
    assert stored(tmp_path / "file") is None
    assert bring(server, tmp_path / "file", sha1=SHA1).sha256 == SHA256


def test_an_archive_called_an_encoding_stays_packed(server: Server, tmp_path: Path) -> None:
    server.faults.encoding = "gzip"
    assert bring(server, tmp_path / "file").sha256 == SHA256
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_file_copied_into_the_cache_counts_only_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    assert stored(path) is None
    assert stored(path, SHA256) == Stored(path, SHA256, len(BODY))
    assert stored(path, SHA256.replace("a", "b")) is None


def test_a_file_of_another_size_than_was_kept_does_not_count(server: Server, tmp_path: Path) -> None:
    kept = bring(server, tmp_path / "file")
    with kept.path.open("ab") as file:
        file.write(b"x")
    assert stored(kept.path) is None


def test_no_space_and_no_permission_are_told_in_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match=r"No space is left for .*file: free some"),
        exclusive(tmp_path / "file", Silent()),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(HostError, match=r"file cannot be written: Permission denied; choose another cache"),
        exclusive(tmp_path / "file", Silent()),
    ):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_file_in_place_of_the_cache_folder_is_told_in_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(HostError, match="cannot be written"):
        bring(server, tmp_path / "cache" / "deep" / "file")
    assert stored(tmp_path / "cache" / "deep" / "file") is None


def test_an_interrupted_process_leaves_a_part_that_the_next_one_continues(
    server: Server, tmp_path: Path
) -> None:
    server.files["file.tar.gz"] = body = os.urandom(40_000_000)
    sha256 = hashlib.sha256(body).hexdigest()
    part, script = tmp_path / "file.part", tmp_path / "run.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pulsar_arm.host.cache import exclusive\n"
        "from pulsar_arm.host.fetch import download\n"
        "from pulsar_arm.host.progress import Silent\n"
        "from pulsar_arm.host.web import Client\n"
        "from contextlib import contextmanager\n"
        "class Slow(Silent):\n"
        "    @contextmanager\n"
        "    def task(self, label, total):\n"
        "        yield lambda count: time.sleep(0.05)\n"
        "url, path, sha256 = sys.argv[1], Path(sys.argv[2]), sys.argv[3]\n"
        "with exclusive(path, Slow()):\n"
        "    download(Client(Slow()), url, path, progress=Slow(), label='x', sha256=sha256)\n"
    )
    argv = [sys.executable, str(script), f"{server.url}/file.tar.gz", str(tmp_path / "file"), sha256]
    root = str(Path(__file__).parent.parent)
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root})
    for _ in range(400):
        if part.exists() and part.stat().st_size > 1_000_000:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1]
    size = part.stat().st_size
    assert 0 < size < len(body)
    assert stored(tmp_path / "file") is None
    assert bring(server, tmp_path / "file", sha256=sha256).sha256 == sha256
    assert ranges(server)[-1] == f"bytes={size}-"
