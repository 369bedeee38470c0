"""Read a Dockerfile into stages and instructions, every variable replaced, every line number kept.

Our own parser, because dockerfile-parse rewrites files in place and knows neither flags, nor JSON
forms, nor the scopes of ARG, and the binding of BuildKit's own parser has no wheel for aarch64.
The grammar is that of the Dockerfile reference; heredocs are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pulsar_arm.errors import CatalogError

# Their text is for a shell or for JSON: variables stay as they are.
_VERBATIM = ("CMD", "ENTRYPOINT", "HEALTHCHECK", "MAINTAINER", "ONBUILD", "RUN", "SHELL")
_KNOWN = frozenset(
    (
        *_VERBATIM,
        "ADD",
        "ARG",
        "COPY",
        "ENV",
        "EXPOSE",
        "FROM",
        "LABEL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    )
)
_PAIRS = frozenset(("ARG", "ENV", "LABEL"))
_JSON_FORMS = frozenset(("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"))
_FLAG = re.compile(r"--([a-z-]+)(?:=(.*))?")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+])([^}]*))?\})")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a stage."""

    keyword: str
    """Upper case: `COPY`."""
    line: int
    """Where it begins, from 1."""
    flags: tuple[tuple[str, str], ...]
    """`--from=x` as ("from", "x"), in order."""
    words: tuple[str, ...]
    """Arguments, unquoted; ENV, LABEL and ARG as `KEY=VALUE`; a shell form as one word."""
    exec_form: bool
    """Whether the arguments were a JSON array."""
    text: str
    """The whole instruction on one line, as written."""

    def flag(self, name: str) -> str:
        """The value of a flag, empty when it is not given."""
        return dict(self.flags).get(name, "")


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM and what follows it."""

    name: str
    """After AS, lower case; else the number of the stage, from 0."""
    base: str
    """`scratch`, an earlier stage's name, or an image."""
    platform: str
    """Of `--platform`; may be empty."""
    line: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file."""

    name: str
    """For messages: `pulsar.Dockerfile`."""
    stages: tuple[Stage, ...]

    def at(self, line: int) -> str:
        """`NAME:LINE`, the beginning of a message."""
        return f"{self.name}:{line}"


def read_dockerfile(
    text: str,
    name: str,
    arguments: Mapping[str, str] = _NOTHING,
    environments: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Dockerfile:
    """Read the Dockerfile `text`, called `name` in messages.

    `arguments` are values for its ARGs and may be used in FROM without one (TARGETARCH and its
    like); `environments` are the ENV of the images it starts from. CatalogError with file and line.
    """
    return _Reader(name, arguments, environments).read(text)


class _Reader:
    def __init__(
        self, name: str, arguments: Mapping[str, str], environments: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._name, self._arguments, self._environments = name, arguments, dict(environments)
        self._stages: list[Stage] = []
        self._instructions: list[Instruction] = []
        # ARGs before the first FROM hold for FROM lines, and for a stage that names them again.
        self._global: dict[str, str] = {}
        self._scope: dict[str, str] = {}
        self._environment: dict[str, str] = {}

    def read(self, text: str) -> Dockerfile:
        for line, instruction in self._logical_lines(text):
            keyword, _, rest = instruction.partition(" ")
            keyword, rest = keyword.upper(), rest.strip()
            if keyword not in _KNOWN:
                raise self._wrong(line, f"{keyword} is no instruction of a Dockerfile; check its spelling")
            if not rest:
                raise self._wrong(line, f"{keyword} needs an argument; give it one")
            if keyword == "FROM":
                self._from(line, rest)
            elif self._stages:
                self._instruction(line, keyword, rest, instruction)
            elif keyword == "ARG":
                self._global |= self._declare(self._words(rest, line, self._global))
            else:
                raise self._wrong(line, f"{keyword} stands before the first FROM; move it below")
        if not self._stages:
            raise CatalogError(f"{self._name} has no FROM: begin it with one.")
        self._end_stage()
        return Dockerfile(self._name, tuple(self._stages))

    def _logical_lines(self, text: str) -> list[tuple[int, str]]:
        """Instructions with the line they begin on: continuations joined, comments dropped."""
        joined: list[tuple[int, str]] = []
        parts: list[str] = []
        begin = 0
        for number, raw in enumerate(text.splitlines(), 1):
            stripped = raw.strip()
            if stripped.startswith("#"):
                if re.match(r"#\s*escape\s*=\s*[^\\\s]", stripped) and not joined:
                    raise self._wrong(
                        number, "only the backslash continues lines here; remove the escape directive"
                    )
                continue
            if not stripped:
                continue
            begin = begin if parts else number
            # What stands between the lines is theirs: the backslash goes, no blank comes.
            parts.append(raw.rstrip().removesuffix("\\"))
            if not stripped.endswith("\\"):
                joined.append((begin, "".join(parts).strip()))
                parts = []
        if parts:
            joined.append((begin, "".join(parts).strip()))
        return [(line, re.sub(r"^(\w+)\s+", r"\1 ", instruction)) for line, instruction in joined]

    def _from(self, line: int, rest: str) -> None:
        self._end_stage()
        flags, words = self._flags(self._words(rest, line, {**self._arguments, **self._global}))
        for key, _ in flags:
            if key != "platform":
                raise self._wrong(line, f"FROM has no --{key}; remove it")
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS") or not words[0]:
            raise self._wrong(line, "FROM is followed by an image and perhaps AS and a name")
        name = words[2].lower() if len(words) == 3 else str(len(self._stages))
        if any(stage.name == name for stage in self._stages):
            raise self._wrong(line, f"a second stage is called {name}; rename one of them")
        earlier = any(stage.name == words[0].lower() for stage in self._stages)
        base = words[0].lower() if earlier else words[0]
        self._stages.append(Stage(name, base, dict(flags).get("platform", ""), line, ()))
        self._scope, self._environment = {}, dict(self._environments.get(base, {}))

    def _end_stage(self) -> None:
        if self._stages:
            last = self._stages[-1]
            done = Stage(last.name, last.base, last.platform, last.line, tuple(self._instructions))
            self._stages[-1] = done
            self._environments[done.name] = self._environment
            self._instructions = []

    def _instruction(self, line: int, keyword: str, rest: str, text: str) -> None:
        flags: tuple[tuple[str, str], ...] = ()
        exec_form = False
        if keyword in ("ADD", "COPY", "RUN", "HEALTHCHECK"):
            head = re.match(r"(?:--\S+\s+)*", rest)
            taken = head[0] if head else ""
            flags, strange = self._flags(self._words(taken, line, self._variables))
            if strange:
                raise self._wrong(line, f"{strange[0]} is no flag of {keyword}; check its spelling")
            rest = rest[len(taken) :]
        if keyword in ("ADD", "COPY") and re.search(r"(^|\s)<<", rest):
            raise self._wrong(line, f"{keyword} with a heredoc is not understood; put the text into a file")
        words = self._json(rest) if keyword in _JSON_FORMS else None
        if words is not None:
            exec_form = True
            if keyword in ("ADD", "COPY", "VOLUME"):
                words = [self._expand(word, self._variables) for word in words]
        elif keyword in _VERBATIM:
            words = [rest]
        elif keyword in _PAIRS:
            words = self._pairs(line, keyword, rest)
        else:
            words = self._words(rest, line, self._variables)
        if keyword == "ARG":
            self._scope |= self._declare(words)
        elif keyword == "ENV":
            self._environment |= dict(self._split(word) for word in words)
        self._instructions.append(Instruction(keyword, line, flags, tuple(words), exec_form, text))

    @property
    def _variables(self) -> dict[str, str]:
        return self._scope | self._environment

    def _declare(self, words: list[str]) -> dict[str, str]:
        declared = {}
        for word in words:
            key, equals, default = word.partition("=")
            known = self._arguments if equals else {**self._global, **self._arguments}
            if key in known or equals:
                declared[key] = known.get(key, default)
        return declared

    def _pairs(self, line: int, keyword: str, rest: str) -> list[str]:
        words = self._words(rest, line, self._variables)
        if keyword == "ENV" and len(words) > 1 and "=" not in rest.split(maxsplit=1)[0]:
            # The old form `ENV KEY the rest of the line`.
            key, value = rest.split(maxsplit=1)
            return [f"{key}={self._expand(value, self._variables)}"]
        if keyword != "ARG" and (wrong := [word for word in words if "=" not in word[1:]]):
            raise self._wrong(line, f"{keyword} wants KEY=VALUE, not {wrong[0]!r}")
        return words

    @staticmethod
    def _split(word: str) -> tuple[str, str]:
        key, _, value = word.partition("=")
        return key, value

    @staticmethod
    def _flags(words: list[str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
        flags = []
        while words and (match := _FLAG.fullmatch(words[0])):
            flags.append((match[1], match[2] or ""))
            words = words[1:]
        return tuple(flags), words

    @staticmethod
    def _json(rest: str) -> list[str] | None:
        if not rest.startswith("["):
            return None
        try:
            words = json.loads(rest)
        except ValueError:
            # As docker does: what is no JSON is the shell form.
            return None
        return words if all(isinstance(word, str) for word in words) else None

    def _words(self, text: str, line: int, variables: Mapping[str, str]) -> list[str]:
        """Split at blanks outside quotes; unquote; replace variables outside single quotes."""
        words: list[str] = []
        word: str | None = None
        quote, position = "", 0
        while position < len(text):
            letter = text[position]
            step = 1
            if quote == "'" and letter != "'":
                piece = letter
            elif letter == "\\" and position + 1 < len(text) and (not quote or text[position + 1] in '"$\\'):
                piece, step = text[position + 1], 2
            elif letter in "\"'" and quote in ("", letter):
                quote, piece = ("" if quote else letter), ""
            elif match := _VARIABLE.match(text, position):
                piece, step = self._value(match, variables), len(match[0])
            elif letter.isspace() and not quote:
                if word is not None:
                    words.append(word)
                word, position = None, position + 1
                continue
            else:
                piece = letter
            word, position = (word or "") + piece, position + step
        if quote:
            raise self._wrong(line, f"a {quote} is opened and never closed")
        return words if word is None else [*words, word]

    def _expand(self, text: str, variables: Mapping[str, str]) -> str:
        return _VARIABLE.sub(lambda match: self._value(match, variables), text)

    def _value(self, match: re.Match[str], variables: Mapping[str, str]) -> str:
        value = variables.get(match[1] or match[2], "")
        unset = not value if (match[3] or "").startswith(":") else (match[1] or match[2]) not in variables
        if match[3] and match[3].endswith("-") == unset:
            return self._expand(match[4], variables)
        return "" if match[3] and match[3].endswith("+") else value

    def _wrong(self, line: int, sentence: str) -> CatalogError:
        return CatalogError(f"{self._name}:{line}: {sentence}.")
