"""pulsar-arm verify: Prove that an image works."""

from __future__ import annotations

import click

from pulsar_arm import report
from pulsar_arm.checks import LEVELS, Level
from pulsar_arm.options import Options, example, format_option, pass_options
from pulsar_arm.verify import TIMEOUT


@click.command(epilog=example("pulsar-arm verify images/pulsar-2.6.0-linux-arm64.tar"))
@click.argument("source")
@click.option("--level", type=click.Choice(LEVELS[:3]), default="load", show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long each JVM is waited for.",
)
@format_option("VERIFY", "table", "json")
@pass_options
def verify(options: Options, source: str, level: Level, timeout: float, form: str) -> int:
    """Prove that an image, or a ported distribution, will work on aarch64.

    static: the config, a new scan, the machine of every program. load: each native that a loader would
    choose is given to the image's own dynamic loader, emulated where this machine is another. probe: the
    libraries are used in the image's JVM, through the distribution's own jars.
    """
    verification = options.pipeline().verify(source, level, timeout=timeout)
    if form == "json":
        click.echo(report.dump(report.verification_json(verification)), nl=False)
    else:
        report.print_out([report.verification_table(verification)])
    return 0 if verification.passed else 1
