from __future__ import annotations

import pytest

from pulsar_arm.errors import CatalogError
from pulsar_arm.formats.dockerfile import Instruction, read_dockerfile


def only(text: str, **arguments: str) -> Instruction:
    """The last instruction of a one-stage file."""
    return read_dockerfile(f"FROM scratch\n{text}\n", "x", arguments).stages[-1].instructions[-1]


def test_stages_have_names_bases_and_lines() -> None:
    text = "# syntax=x\nFROM scratch AS Tree\nADD a.tar /\n\nfrom --platform=linux/arm64 base\nuser 1\n"
    tree, last = read_dockerfile(text, "pulsar.Dockerfile").stages
    assert (tree.name, tree.base, tree.line) == ("tree", "scratch", 2)
    assert (last.name, last.base, last.platform, last.line) == ("1", "base", "linux/arm64", 5)
    assert [(one.keyword, one.line, one.words) for one in last.instructions] == [("USER", 6, ("1",))]


def test_continued_lines_are_one_instruction_and_comments_in_them_vanish() -> None:
    found = only('LABEL a=1 \\\n  # why\n\n  b="two words" \\\n  c=x\\\ny')
    assert found.words == ("a=1", "b=two words", "c=xy")
    assert found.line == 2


def test_flags_stand_before_the_words() -> None:
    found = only("COPY --from=tree --chown=1:2 /a /b/ /c/")
    assert (found.flag("from"), found.flag("chown"), found.flag("chmod")) == ("tree", "1:2", "")
    assert found.words == ("/a", "/b/", "/c/")
    assert only('COPY ["a b", "/c"]').words == ("a b", "/c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('ENV A=1 B=\'$x y\' C="$x\\"z"', ("A=1", "B=$x y", 'C=1"z')),
        ("ENV A the rest  of it", ("A=the rest  of it",)),
        ("ENV A=$x${x}_${nothing}b", ("A=11_b",)),
        ("ENV A=${nothing:-d} B=${x:-d} C=${empty:-$x} D=${empty-d}", ("A=d", "B=1", "C=1", "D=")),
        ("ENV A=${x:+yes} B=${nothing+yes} C=${empty:+yes}", ("A=yes", "B=", "C=")),
        ("ENV A=\\$x B=a\\ b", ("A=$x", "B=a b")),
        ("LABEL org.x=", ("org.x=",)),
        ("EXPOSE 6650 8080/tcp", ("6650", "8080/tcp")),
        ("CMD echo $x", ("echo $x",)),
    ],
)
def test_words_are_unquoted_and_variables_replaced(text: str, words: tuple[str, ...]) -> None:
    assert only(f"ARG x=1\nARG empty=\n{text}").words == words


def test_commands_have_two_forms() -> None:
    assert only('ENTRYPOINT ["bin/pulsar", "$x"]').words == ("bin/pulsar", "$x")
    assert only('ENTRYPOINT ["bin/pulsar"]').exec_form
    assert not only("CMD [not json]").exec_form


def test_arguments_have_the_scopes_of_docker() -> None:
    text = "ARG base=one\nARG tag=a\nFROM ${base}\nUSER u$tag\nARG tag\nUSER u$tag\nARG own=3\nUSER $own\n"
    stage = read_dockerfile(text, "x", {"base": "two", "own": "4"}).stages[0]
    assert stage.base == "two"
    assert [one.words for one in stage.instructions if one.keyword == "USER"] == [("u",), ("ua",), ("4",)]


def test_the_environment_comes_from_the_base_and_from_earlier_stages() -> None:
    text = "FROM base AS a\nENV PATH=$PATH:/x A=1\nFROM a\nENV B=$A$PATH\n"
    stages = read_dockerfile(text, "x", environments={"base": {"PATH": "/bin"}}).stages
    assert stages[1].instructions[0].words == ("B=1/bin:/x",)


def test_the_platform_may_be_named_by_its_argument() -> None:
    stage = read_dockerfile(
        "FROM --platform=$TARGETPLATFORM base", "x", {"TARGETPLATFORM": "linux/arm64"}
    ).stages[0]
    assert stage.platform == "linux/arm64"


def test_instructions_that_only_an_engine_can_refuse_are_read() -> None:
    assert only("RUN --mount=type=cache apt-get install $x").words == ("apt-get install $x",)
    assert only("HEALTHCHECK NONE").keyword == "HEALTHCHECK"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM scratch\nFORM x", "f:2: FORM is no instruction"),
        ("USER 1\nFROM x", "f:1: USER stands before the first FROM"),
        ("# nothing", "f has no FROM"),
        ("FROM a b c", "f:1: FROM is followed by"),
        ("FROM $nothing", "f:1: FROM is followed by"),
        ("FROM --from=x a", "f:1: FROM has no --from"),
        ("FROM a AS x\nFROM a AS x", "f:2: a second stage is called x"),
        ("FROM a\nUSER", "f:2: USER needs an argument"),
        ("FROM a\nLABEL x", "f:2: LABEL wants KEY=VALUE"),
        ("FROM a\nENV A='x", "f:2: a ' is opened"),
        ("FROM a\nCOPY --From=x a b", "f:2: --From=x is no flag"),
        ("FROM a\nCOPY <<EOF /x\nhello\nEOF", "f:2: COPY with a heredoc"),
        ("# escape=`\nFROM a", "f:1: only the backslash"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(text: str, words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        read_dockerfile(text, "f")
