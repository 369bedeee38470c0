from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders_maven import Faults, Server, maven_server, proxy_server, zip_bytes

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.host.maven import Coordinate, Fetched, NotPublished, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.host.web import Patience

QUICK = Patience(attempts=3, pause=0.01, connect=5, read=5)
LIBRARY = Coordinate("org.some", "library", "1.2")
ZIP = Coordinate("org.some", "sources", "1.2", "zip", "source-release")
BODY = b"what a jar holds" * 5000
SHA256 = hashlib.sha256(BODY).hexdigest()
ENTRIES = {"top/a.sh": b"echo a\n", "top/b/c.xml": b"<c/>\n", "top/large": bytes(range(256)) * 1000}


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def server() -> Iterator[Server]:
    with maven_server() as one:
        one.publish(LIBRARY.path, BODY)
        one.publish(ZIP.path, zip_bytes(ENTRIES))
        yield one


def repository(
    cache: Path,
    url: str | None,
    *,
    offline: bool = False,
    notes: Notes | None = None,
    settings: Path = Path("/nonexistent"),
) -> Repository:
    return Repository(
        cache, url=url, offline=offline, progress=notes or Notes(), settings=settings, patience=QUICK
    )


def write_settings(folder: Path, inside: str) -> Path:
    path = folder / "settings.xml"
    path.write_text(f"<settings>{inside}</settings>")
    return path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("org.rocksdb:rocksdbjni:5.18.4", "org/rocksdb/rocksdbjni/5.18.4/rocksdbjni-5.18.4.jar"),
        ("a:b:1:nar", "a/b/1/b-1.nar"),
        ("a.c:b:1:tar.gz:bin", "a/c/b/1/b-1-bin.tar.gz"),
        ("a:b:1:jar:linux-aarch_64", "a/b/1/b-1-linux-aarch_64.jar"),
    ],
)
def test_a_coordinate_is_read_and_written_and_finds_its_file(text: str, path: str) -> None:
    coordinate = Coordinate.parse(text)
    assert str(coordinate) == text
    assert coordinate.path == path
    assert coordinate.file == path.rpartition("/")[2]


@pytest.mark.parametrize(
    "text",
    ["", "a:b", "a:b:1:jar:c:d", "a::1", "a:..:1", "a..b:c:1", "../a:b:1", "a:b/c:1", "a:b:1:", "a:b:1 "],
)
def test_what_is_no_coordinate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Maven coordinate"):
        Coordinate.parse(text)


def test_an_artifact_is_fetched_checked_and_kept(server: Server, tmp_path: Path) -> None:
    notes = Notes()
    fetched = repository(tmp_path, server.url, notes=notes).fetch(LIBRARY)
    assert fetched == Fetched(LIBRARY, tmp_path / "maven" / LIBRARY.path, SHA256)
    assert fetched.path.read_bytes() == BODY
    assert [asked.path for asked in server.asked] == [f"/{LIBRARY.path}.sha1", f"/{LIBRARY.path}"]
    assert repository(tmp_path, server.url).fetch(LIBRARY, SHA256.upper()) == fetched
    assert len(server.asked) == 2
    assert notes.said == []


def test_a_coordinate_that_the_repository_lacks_is_told_with_the_repository(
    server: Server, tmp_path: Path
) -> None:
    url = server.url.replace("http://", "http://me:secret@")
    lacking = Coordinate("org.some", "library", "9")
    with pytest.raises(NotPublished) as caught:
        repository(tmp_path, url).fetch(lacking)
    assert str(caught.value).startswith(f"org.some:library:9 is not published in {server.url}:")
    with pytest.raises(NotPublished):
        repository(tmp_path, url).read_entries(lacking, ["x"])
    assert len(server.gets(lacking.path)) == 2


def test_a_wrong_published_sha1_is_refused_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    server.publish(LIBRARY.path, BODY, sha1="0" * 40)
    with pytest.raises(HostError, match=r"library-1\.2\.jar came with sha1 .* where 0{40} is published"):
        repository(tmp_path, server.url).fetch(LIBRARY)
    assert [
        path.name for path in (tmp_path / "maven/org/some/library/1.2").iterdir() if "lock" not in path.name
    ] == []


@pytest.mark.parametrize("told", ["{}  library-1.2.jar\n", "SHA1(library-1.2.jar)= {}\n"])
def test_a_sha1_is_found_in_the_forms_that_tools_write(server: Server, tmp_path: Path, told: str) -> None:
    server.publish(LIBRARY.path, BODY, sha1=told.format(hashlib.sha1(BODY).hexdigest().upper()))
    notes = Notes()
    repository(tmp_path, server.url, notes=notes).fetch(LIBRARY)
    assert notes.said == []


def test_a_file_without_any_checksum_is_taken_and_said(server: Server, tmp_path: Path) -> None:
    server.publish(LIBRARY.path, BODY, sha1=None)
    del server.files[f"{LIBRARY.path}.sha1"]
    notes = Notes()
    assert repository(tmp_path / "1", server.url, notes=notes).fetch(LIBRARY).sha256 == SHA256
    assert "org.some:library:1.2 could not be checked" in notes.said[0]
    pinned = Notes()
    repository(tmp_path / "2", server.url, notes=pinned).fetch(LIBRARY, SHA256)
    assert pinned.said == []


def test_another_file_than_the_pinned_one_is_refused_and_the_kept_one_stays(
    server: Server, tmp_path: Path
) -> None:
    kept = repository(tmp_path, server.url).fetch(LIBRARY)
    with pytest.raises(HostError, match=r"where a{64} is expected"):
        repository(tmp_path, server.url).fetch(LIBRARY, "a" * 64)
    assert len(server.gets(LIBRARY.path)) == 2
    assert repository(tmp_path, None, offline=True).fetch(LIBRARY) == kept
    with pytest.raises(HostError, match="there is another file than the one expected"):
        repository(tmp_path, None, offline=True).fetch(LIBRARY, "a" * 64)


def test_a_kept_file_that_disagrees_with_the_pin_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    repository(tmp_path, server.url).fetch(LIBRARY)
    server.publish(LIBRARY.path, b"the right one")
    right = hashlib.sha256(b"the right one").hexdigest()
    assert repository(tmp_path, server.url).fetch(LIBRARY, right).sha256 == right
    assert repository(tmp_path, None, offline=True).fetch(LIBRARY).sha256 == right


def test_a_kept_file_that_was_cut_later_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    fetched = repository(tmp_path, server.url).fetch(LIBRARY)
    fetched.path.write_bytes(BODY[:100])
    assert repository(tmp_path, server.url).fetch(LIBRARY) == fetched
    assert fetched.path.read_bytes() == BODY


def test_offline_finds_what_is_kept_and_says_what_to_do_for_the_rest(server: Server, tmp_path: Path) -> None:
    online = repository(tmp_path, server.url)
    online.fetch(LIBRARY)
    online.read_entries(ZIP, ["top/a.sh"])
    asked = len(server.asked)
    offline = repository(tmp_path, server.url, offline=True)
    assert offline.fetch(LIBRARY).sha256 == SHA256
    assert offline.read_entries(ZIP, ["top/a.sh"]) == {"top/a.sh": ENTRIES["top/a.sh"]}
    assert (offline.has(LIBRARY), offline.has(ZIP)) == (True, False)
    for lacking in (
        lambda: offline.fetch(ZIP),
        lambda: offline.read_entries(ZIP, ["top/b/c.xml"]),
        lambda: offline.list_entries(ZIP),
    ):
        with pytest.raises(HostError, match=r"org.some:sources:1.2:zip:source-release .* without --offline"):
            lacking()
    assert len(server.asked) == asked


def test_has_asks_without_fetching(server: Server, tmp_path: Path) -> None:
    asking = repository(tmp_path, server.url)
    assert asking.has(LIBRARY)
    assert not asking.has(Coordinate("org.some", "library", "9"))
    assert [asked.method for asked in server.asked] == ["HEAD", "HEAD"]


def test_entries_of_a_remote_zip_are_read_by_ranges_and_kept(server: Server, tmp_path: Path) -> None:
    names = ["top/b/c.xml", "top/a.sh"]
    read = repository(tmp_path, server.url).read_entries(ZIP, names)
    assert list(read.items()) == [(name, ENTRIES[name]) for name in names]
    asked = server.gets(ZIP.path)
    assert all("Range" in one.headers for one in asked)
    assert repository(tmp_path, server.url).read_entries(ZIP, [*names, "top/large"]) == ENTRIES
    assert repository(tmp_path, None, offline=True).read_entries(ZIP, list(ENTRIES)) == ENTRIES


def test_only_what_is_needed_of_a_large_zip_travels(server: Server, tmp_path: Path) -> None:
    filler = {f"{number}.bin": hashlib.shake_256(bytes([number])).digest(300_000) for number in range(20)}
    server.publish(ZIP.path, zip_bytes({**ENTRIES, **filler}))
    repository(tmp_path, server.url).read_entries(ZIP, ["top/a.sh"])
    asked = server.gets(ZIP.path)
    assert asked[0].headers["Range"] == "bytes=-65536"
    assert len(asked) == 2


def test_the_names_in_a_remote_zip_are_listed_and_kept(server: Server, tmp_path: Path) -> None:
    assert repository(tmp_path, server.url).list_entries(ZIP) == list(ENTRIES)
    assert repository(tmp_path, None, offline=True).list_entries(ZIP) == list(ENTRIES)


def test_a_zip_that_is_here_already_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    repository(tmp_path, server.url).fetch(ZIP)
    offline = repository(tmp_path, None, offline=True)
    assert offline.list_entries(ZIP) == list(ENTRIES)
    assert offline.read_entries(ZIP, list(ENTRIES)) == ENTRIES


def test_a_server_without_ranges_gives_the_whole_zip(server: Server, tmp_path: Path) -> None:
    server.faults.ranges = False
    notes = Notes()
    assert repository(tmp_path, server.url, notes=notes).read_entries(ZIP, list(ENTRIES)) == ENTRIES
    assert "fetching all of sources-1.2-source-release.zip" in notes.said[0]


def test_ranged_reads_survive_cuts_and_passing_refusals(server: Server, tmp_path: Path) -> None:
    server.faults.cuts, server.faults.statuses = [10], [503]
    assert repository(tmp_path, server.url).read_entries(ZIP, ["top/a.sh"]) == {"top/a.sh": b"echo a\n"}


def test_an_entry_that_is_not_there_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"org.some:sources:1.2:zip:source-release has no entry top/none"):
        repository(tmp_path, server.url).read_entries(ZIP, ["top/none"])


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/../../b", "", "a/", "a\\b", "."])
def test_an_entry_whose_name_leads_elsewhere_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name for an entry"):
        repository(tmp_path, server.url).read_entries(ZIP, [name])


def test_what_is_no_zip_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"library-1\.2\.jar cannot be read as a zip"):
        repository(tmp_path, server.url).list_entries(LIBRARY)
    repository(tmp_path, server.url).fetch(LIBRARY)
    with pytest.raises(HostError, match=r"library-1\.2\.jar cannot be read as a zip"):
        repository(tmp_path, None, offline=True).list_entries(LIBRARY)


def test_a_damaged_entry_is_told(server: Server, tmp_path: Path) -> None:
    damaged = bytearray(zip_bytes(ENTRIES))
    damaged[39] ^= 0xFF
    server.publish(ZIP.path, bytes(damaged))
    with pytest.raises(HostError, match="cannot be read as a zip"):
        repository(tmp_path, server.url).read_entries(ZIP, ["top/a.sh"])
    assert repository(tmp_path, server.url).read_entries(ZIP, ["top/b/c.xml"])


def _fetch_in_process(url: str, cache: str, found: multiprocessing.Queue[str]) -> None:
    found.put(repository(Path(cache), url).fetch(LIBRARY).sha256)


def test_two_processes_that_want_one_artifact_download_it_once(server: Server, tmp_path: Path) -> None:
    server.faults.delay = 1.0
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    processes = [
        spawn.Process(target=_fetch_in_process, args=(server.url, str(tmp_path), found)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert [found.get(timeout=30) for _ in processes] == [SHA256, SHA256]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert len(server.gets(LIBRARY.path)) == 1


def test_threads_of_one_repository_fetch_side_by_side(server: Server, tmp_path: Path) -> None:
    coordinates = [Coordinate("org.some", "many", str(number)) for number in range(6)]
    for coordinate in coordinates:
        server.publish(coordinate.path, str(coordinate).encode() * 1000)
    shared = repository(tmp_path, server.url)
    threads = [threading.Thread(target=shared.fetch, args=(one,)) for one in [*coordinates, *coordinates]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for coordinate in coordinates:
        assert shared.fetch(coordinate).path.read_bytes() == str(coordinate).encode() * 1000
        assert len(server.gets(coordinate.path)) == 1


def test_the_second_of_two_says_that_it_waits(server: Server, tmp_path: Path) -> None:
    server.faults.delay = 0.5
    notes = Notes()
    shared = repository(tmp_path, server.url, notes=notes)
    threads = [threading.Thread(target=shared.fetch, args=(LIBRARY,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert notes.said == ["Another process is fetching library-1.2.jar; waiting for it."]


def test_the_mirror_of_settings_xml_is_asked_unless_a_url_is_given(server: Server, tmp_path: Path) -> None:
    with maven_server() as other:
        other.publish(LIBRARY.path, BODY)
        mirror = f"<mirror><id>m</id><url>{server.url}/</url><mirrorOf>*</mirrorOf></mirror>"
        settings = write_settings(tmp_path, f"<mirrors>{mirror}</mirrors>")
        repository(tmp_path / "1", None, settings=settings).fetch(LIBRARY)
        assert (len(server.gets(LIBRARY.path)), len(other.asked)) == (1, 0)
        repository(tmp_path / "2", other.url, settings=settings).fetch(LIBRARY)
        assert (len(server.gets(LIBRARY.path)), len(other.gets(LIBRARY.path))) == (1, 1)


def test_the_proxy_of_settings_xml_is_used_with_its_login(server: Server, tmp_path: Path) -> None:
    with proxy_server() as proxy:
        port = proxy.url.rpartition(":")[2]
        login = "<username>me</username><password>pw</password>"
        row = f"<proxy><host>127.0.0.1</host><port>{port}</port>{login}"
        settings = write_settings(tmp_path, f"<proxies>{row}</proxy></proxies>")
        repository(tmp_path / "1", server.url, settings=settings).fetch(LIBRARY)
        assert [asked.path for asked in proxy.asked] == [
            f"{server.url}/{LIBRARY.path}.sha1",
            f"{server.url}/{LIBRARY.path}",
        ]
        assert proxy.asked[0].headers["Proxy-Authorization"] == "Basic bWU6cHc="
        direct = "<nonProxyHosts>localhost|127.*</nonProxyHosts>"
        settings = write_settings(tmp_path, f"<proxies>{row}{direct}</proxy></proxies>")
        repository(tmp_path / "2", server.url, settings=settings).fetch(LIBRARY)
        assert len(proxy.asked) == 2


def test_the_proxy_of_the_environment_is_used_where_settings_xml_names_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_server() as proxy:
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        repository(tmp_path, server.url).fetch(LIBRARY)
        assert len(proxy.asked) == 2


def test_credentials_go_to_their_server_only(server: Server, tmp_path: Path) -> None:
    server.faults.login = ("me", "pä:ss")
    mirror = f"<mirror><id>m</id><url>{server.url}</url><mirrorOf>*</mirrorOf></mirror>"
    login = "<server><id>m</id><username>me</username><password>pä:ss</password></server>"
    settings = write_settings(tmp_path, f"<mirrors>{mirror}</mirrors><servers>{login}</servers>")
    assert repository(tmp_path / "1", None, settings=settings).fetch(LIBRARY).sha256 == SHA256
    with pytest.raises(HostError, match=r"is refused .401 .*settings\.xml"):
        repository(tmp_path / "2", server.url).fetch(LIBRARY)
    with maven_server() as storage:
        storage.files, server.faults = server.files, Faults(login=("me", "pä:ss"), redirect=storage.url)
        assert repository(tmp_path / "3", None, settings=settings).fetch(LIBRARY).sha256 == SHA256
        assert len(storage.asked) == 2
        assert not any("Authorization" in asked.headers for asked in storage.asked)


def test_a_login_in_the_url_is_used_and_never_shown(server: Server, tmp_path: Path) -> None:
    server.faults.login = ("me", "se/cret")
    notes = Notes()
    url = server.url.replace("http://", "http://me:se%2Fcret@")
    server.faults.statuses = [503]
    repository(tmp_path, url, notes=notes).fetch(LIBRARY)
    assert notes.said
    assert "cret" not in "".join(notes.said)


def test_broken_settings_do_not_matter_for_what_is_kept(server: Server, tmp_path: Path) -> None:
    repository(tmp_path, server.url).fetch(LIBRARY)
    settings = write_settings(tmp_path, "<oops")
    assert repository(tmp_path, server.url, settings=settings).fetch(LIBRARY)
    with pytest.raises(InputError, match="line 1, is broken XML"):
        repository(tmp_path, server.url, settings=settings).fetch(ZIP)


def test_a_cache_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    broken = repository(tmp_path / "cache", server.url)
    for act in (lambda: broken.fetch(LIBRARY), lambda: broken.read_entries(ZIP, ["top/a.sh"])):
        with pytest.raises(HostError, match=r"cannot be written: .*; choose another cache with --cache"):
            act()
    assert server.asked == []


def test_a_repository_that_is_not_of_the_web_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--maven-url"):
        repository(tmp_path, "file:///srv/m2").fetch(LIBRARY)
