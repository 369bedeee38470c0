from __future__ import annotations

from pathlib import Path

import pytest

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.host.settings import Remote, Settings, read_settings

CENTRAL = "https://central.invalid/maven2"
NAMESPACE = ' xmlns="urn:maven:settings"'


def read(tmp_path: Path, inside: str, namespace: str = "", **environment: str) -> Settings:
    path = tmp_path / "settings.xml"
    path.write_text(f"<?xml version='1.0'?>\n<settings{namespace}>\n{inside}\n</settings>\n")
    return read_settings(path, environment)


def mirror(mirror_of: str, name: str = "near", url: str = "https://near.invalid/m2/", more: str = "") -> str:
    return f"<mirror><id>{name}</id><url>{url}</url><mirrorOf>{mirror_of}</mirrorOf>{more}</mirror>"


def server(name: str, user: str, password: str) -> str:
    login = f"<username>{user}</username><password>{password}</password>"
    return f"<servers><server><id>{name}</id>{login}</server></servers>"


def proxy(protocol: str = "http", more: str = "", host: str = "proxy.invalid") -> str:
    return f"<proxy><protocol>{protocol}</protocol><host>{host}</host><port>3128</port>{more}</proxy>"


def test_without_the_file_the_default_repository_is_asked(tmp_path: Path) -> None:
    settings = read_settings(tmp_path / "none.xml")
    assert settings.remote(None, CENTRAL) == Remote(CENTRAL, None)
    assert settings.proxies == ()


@pytest.mark.parametrize("namespace", ["", NAMESPACE])
@pytest.mark.parametrize(
    ("mirror_of", "taken"),
    [
        ("*", True),
        ("central", True),
        ("external:*", True),
        ("repo1, central", True),
        ("*,!central", False),
        ("!central,*", False),
        ("*,!other", True),
        ("external:*,!central", False),
        ("external:http:*", False),
        ("other", False),
    ],
)
def test_mirrors_are_chosen_as_maven_does(
    tmp_path: Path, mirror_of: str, taken: bool, namespace: str
) -> None:
    settings = read(tmp_path, f"<mirrors>{mirror(mirror_of)}</mirrors>", namespace)
    assert settings.remote(None, CENTRAL).url == ("https://near.invalid/m2" if taken else CENTRAL)


def test_external_leaves_this_machine_out_and_may_mean_plain_http(tmp_path: Path) -> None:
    local = "http://localhost:1/maven2"
    assert read(tmp_path, f"<mirrors>{mirror('external:*')}</mirrors>").remote(None, local).url == local
    far = "http://far.invalid/maven2"
    near = read(tmp_path, f"<mirrors>{mirror('external:http:*')}</mirrors>").remote(None, far)
    assert near.url == "https://near.invalid/m2"


def test_a_mirror_of_just_this_repository_goes_before_patterns(tmp_path: Path) -> None:
    rows = mirror("*", "wide", "https://wide.invalid") + mirror("central")
    assert read(tmp_path, f"<mirrors>{rows}</mirrors>").remote(None, CENTRAL).url == "https://near.invalid/m2"


def test_the_first_pattern_that_fits_is_taken(tmp_path: Path) -> None:
    rows = mirror("*,!central", "a", "https://a.invalid") + mirror("*", "b", "https://b.invalid")
    assert read(tmp_path, f"<mirrors>{rows}</mirrors>").remote(None, CENTRAL).url == "https://b.invalid"


def test_a_blocked_mirror_is_refused(tmp_path: Path) -> None:
    settings = read(tmp_path, f"<mirrors>{mirror('*', more='<blocked>true</blocked>')}</mirrors>")
    with pytest.raises(HostError, match="blocks Maven's default repository"):
        settings.remote(None, CENTRAL)


def test_an_explicit_url_goes_before_mirrors_and_brings_its_own_login(tmp_path: Path) -> None:
    settings = read(tmp_path, f"<mirrors>{mirror('*')}</mirrors>{server('near', 'me', 'pw')}")
    assert settings.remote("http://u%40x:p%3A@own.invalid:81/r/", CENTRAL) == Remote(
        "http://own.invalid:81/r", ("u@x", "p:")
    )
    assert settings.remote("https://own.invalid/r", CENTRAL).auth is None


def test_servers_give_the_login_of_their_mirror_and_of_central(tmp_path: Path) -> None:
    mirrored = read(tmp_path, f"<mirrors>{mirror('*')}</mirrors>{server('near', 'me', 'pw')}")
    assert mirrored.remote(None, CENTRAL).auth == ("me", "pw")
    assert mirrored.remote("https://near.invalid/m2", CENTRAL).auth == ("me", "pw")
    assert read(tmp_path, server("central", "me", "pw")).remote(None, CENTRAL).auth == ("me", "pw")
    assert read(tmp_path, server("other", "me", "pw")).remote(None, CENTRAL).auth is None


def test_variables_of_the_environment_are_filled_in(tmp_path: Path) -> None:
    inside = (
        server("central", "${env.WHO}", "a${env.WORD}b")
        + f"<mirrors>{mirror('*', 'central', 'http://h${user.home}')}</mirrors>"
    )
    settings = read(tmp_path, inside, WHO="me", WORD="-")
    assert settings.remote(None, CENTRAL) == Remote(f"http://h{Path.home()}", ("me", "a-b"))


def test_a_variable_that_is_not_set_is_refused_only_where_it_is_needed(tmp_path: Path) -> None:
    settings = read(tmp_path, server("central", "me", "${env.NO_SUCH}"))
    assert settings.remote("http://own.invalid", CENTRAL).auth is None
    with pytest.raises(HostError, match=r"settings\.xml needs the environment variable NO_SUCH"):
        settings.remote(None, CENTRAL)


@pytest.mark.parametrize(
    "password", ["{COQLCE6DU6GtcS5P=}", "{[name=master,cipher=x]abc=}", "note {abc=} note"]
)
def test_an_encrypted_password_is_refused_in_a_sentence(tmp_path: Path, password: str) -> None:
    settings = read(tmp_path, server("central", "me", password))
    with pytest.raises(HostError, match=r"settings\.xml holds a password that Maven has encrypted"):
        settings.remote(None, CENTRAL)


def test_escaped_braces_belong_to_the_password(tmp_path: Path) -> None:
    settings = read(tmp_path, server("central", "me", r"a\{b\}"))
    assert settings.remote(None, CENTRAL).auth == ("me", "a{b}")


def test_passwords_are_not_shown_by_records(tmp_path: Path) -> None:
    inside = (
        server("central", "me", "secret")
        + f"<proxies>{proxy(more='<username>u</username><password>secret</password>')}</proxies>"
    )
    settings = read(tmp_path, inside)
    assert "secret" not in repr(settings) + repr(settings.remote(None, CENTRAL))


def test_a_proxy_serves_all_but_the_hosts_left_out(tmp_path: Path) -> None:
    hosts = "<nonProxyHosts>localhost|*.near.invalid|10.*</nonProxyHosts>"
    settings = read(tmp_path, f"<proxies>{proxy(more=hosts)}</proxies>")
    assert settings.proxy_for("https://far.invalid/x") == "http://proxy.invalid:3128"
    for host in ("localhost:8080", "REPO.near.invalid", "10.1.2.3"):
        assert settings.proxy_for(f"http://{host}/x") is None


def test_proxies_are_chosen_by_protocol_and_http_serves_https_too(tmp_path: Path) -> None:
    rows = proxy(host="one.invalid") + proxy("https", host="two.invalid") + proxy(host="three.invalid")
    settings = read(tmp_path, f"<proxies>{rows}</proxies>")
    assert settings.proxy_for("http://far.invalid") == "http://one.invalid:3128"
    assert settings.proxy_for("https://far.invalid") == "http://two.invalid:3128"
    only_https = read(tmp_path, f"<proxies>{proxy('https')}</proxies>")
    assert only_https.proxy_for("http://far.invalid") is None


def test_a_proxy_that_is_not_active_is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, f"<proxies>{proxy(more='<active>false</active>')}</proxies>").proxies == ()


def test_the_login_of_a_proxy_is_quoted(tmp_path: Path) -> None:
    login = "<username>me@x</username><password>p:/w</password>"
    settings = read(tmp_path, f"<proxies>{proxy(more=login)}</proxies>")
    assert settings.proxy_for("http://far.invalid") == "http://me%40x:p%3A%2Fw@proxy.invalid:3128"


@pytest.mark.parametrize("url", ["file:///srv/m2", "repo", "https://[::1", "ftp://u:secret@h/"])
def test_a_url_that_is_not_of_the_web_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--maven-url") as caught:
        Settings(tmp_path / "settings.xml").remote(url, CENTRAL)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=r"check mirror near in .*settings\.xml"):
        read(tmp_path, f"<mirrors>{mirror('*', url=url)}</mirrors>").remote(None, CENTRAL)


def test_broken_xml_is_told_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"settings\.xml, line 4, is broken XML: .*servers"):
        read(tmp_path, "<servers>")


@pytest.mark.parametrize("content", ["", "<project/>"])
def test_a_file_that_is_not_maven_s_settings_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.xml").write_text(content)
    with pytest.raises(InputError, match=r"settings\.xml"):
        read_settings(tmp_path / "settings.xml")


def test_entities_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word")
    path = tmp_path / "settings.xml"
    path.write_text(
        f'<!DOCTYPE settings [<!ENTITY e SYSTEM "file://{secret}">]>\n'
        f"<settings><localRepository>&e;</localRepository></settings>"
    )
    with pytest.raises(InputError, match=r"line 2: &e; is not followed"):
        read_settings(path)
    assert read(tmp_path, server("central", "me", "a&amp;b")).remote(None, CENTRAL).auth == ("me", "a&b")


def test_a_folder_in_its_place_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_settings(tmp_path)
