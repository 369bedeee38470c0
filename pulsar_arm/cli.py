"""The command line: arguments in, one call of the pipeline, the result printed, an exit code out."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from pulsar_arm import __version__
from pulsar_arm.errors import PulsarArmError
from pulsar_arm.options import EXIT_CODES, Options, default_cache, read_mirrors
from pulsar_arm.printable import printable

COMMANDS = {
    "fetch": "Bring a release and its parts into the cache, or a folder, and print the paths.",
    "scan": "Tell what of SOURCE would break on aarch64, how badly, and what mends it.",
    "port": "Write SOURCE as it should be on aarch64: ARM builds swapped in, Presto's check patched.",
    "build": (
        "Build images of a ported release, without Docker if need be, as archives that every engine loads."
    ),
    "eject": "Write a build context into DIR that plain `docker buildx bake` builds without us.",
    "verify": "Prove that an image, or a ported distribution, will work on aarch64.",
    "catalog": "Show, check and widen what is known of native libraries.",
    "explain": "Tell what LOGFILE (- for standard input) says of Pulsar on aarch64, and what mends it.",
    "doctor": "Tell what this machine can do, and the command that mends what it cannot.",
    "deploy": "Render clusters of Pulsar from one description, for machines and containers.",
}
"""In the order of the work, with what `--help` says; each is the function in `commands/NAME.py`."""


class _Commands(click.Group):
    """A group that imports a command when it is asked for: a scan need not wait for the engines."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"pulsar_arm.commands.{name}"), name)
        return command


@click.group(cls=_Commands, epilog=EXIT_CODES, context_settings={"auto_envvar_prefix": "PULSAR_ARM"})
@click.version_option(__version__, prog_name="pulsar-arm")
@click.option("-v", "--verbose", is_flag=True, help="Show the commands that are run, and tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
@click.option("--offline", is_flag=True, help="Use the cache only.")
@click.option("--maven-url", metavar="URL", help="The Maven repository to fetch from.")
@click.option(
    "--registry-mirror",
    multiple=True,
    metavar="HOST=HOST[/PREFIX]",
    callback=read_mirrors,
    help="Ask this host first when an image is pulled from that registry; repeatable.",
)
@click.option(
    "--insecure-registry",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A registry that may speak plain http or show any certificate; repeatable.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_cache,
    show_default="$XDG_CACHE_HOME/pulsar-arm",
    help="Where fetched files and bases are kept.",
)
@click.pass_context
def cli(
    context: click.Context,
    verbose: bool,
    quiet: bool,
    offline: bool,
    maven_url: str | None,
    registry_mirror: dict[str, str],
    insecure_registry: tuple[str, ...],
    cache: Path,
) -> None:
    """Take Apache Pulsar to ARM64: scan a release, port it, build images, prove that they run.

    Every option can be given by the environment too: PULSAR_ARM_<COMMAND>_<OPTION>.
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    context.obj = Options(
        verbose,
        quiet,
        offline,
        maven_url,
        cache.expanduser().absolute(),
        registry_mirror,
        frozenset(insecure_registry),
    )


def main() -> NoReturn:
    """Run the command line; failures become one sentence on stderr and the documented exit code."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # The threads that inflate and hash wait for Python's lock at each of their pieces: by default 5 ms,
    # while jars are being parsed, which made a scan a quarter slower.
    sys.setswitchinterval(0.0005)
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        code = cli.main(standalone_mode=False)
    except PulsarArmError as error:
        if verbose:
            raise
        code = _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        code = _fail("Interrupted; nothing half-written is left.", 130)
    except BrokenPipeError:
        # Whoever read our output has gone: no error of ours, and stdout must not be flushed again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> int:
    click.echo(f"pulsar-arm: {printable(sentence)}", err=True)
    return code
