"""pulsar-arm verify: Prove that an image works."""

from __future__ import annotations

import click

from pulsar_arm import report
from pulsar_arm.options import Options, example, format_option, pass_options
from pulsar_arm.verify import LEVELS, Level


@click.command(epilog=example("pulsar-arm verify images/pulsar-2.6.0-linux-arm64.tar"))
@click.argument("source")
@click.option("--level", type=click.Choice(LEVELS), default=LEVELS[-1], show_default=True)
@format_option("VERIFY", "table", "json")
@pass_options
def verify(options: Options, source: str, level: Level, form: str) -> int:
    """Prove that an image, or a ported distribution, will work on aarch64.

    static: the config, a new scan, the machine of every program. load: each native that a loader would
    choose is given to the image's own dynamic loader, emulated where this machine is another.
    """
    verification = options.pipeline().verify(source, level)
    if form == "json":
        click.echo(report.dump(report.verification_json(verification)), nl=False)
    else:
        report.print_out([report.verification_table(verification)])
    return 0 if verification.passed else 1
