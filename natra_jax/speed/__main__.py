"""Measure the speeds that matter here, side by side in one run, as ratios.

    python -m natra_jax.speed [PARTS...]

PARTS: attack, training, encoding, upsampling, loading, waiting, stylegan2, stylegan2_gradient; all
of them where none is named. The last two also measure a PyTorch module of the same architecture
where PyTorch is installed.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.speed.__main__"))

import sys
from collections.abc import Sequence

import jax

from natra_jax import command
from natra_jax.speed.parts import PARTS
from natra_jax.speed.timing import measure
from natra_jax.types import UserError


def main(argv: Sequence[str]) -> None:
    """Measure and print the parts that argv names. Raise UserError for a name that is none."""
    if command.wants_help(argv):
        command.show_help(__doc__, _flags)
        return
    _, names = command.parse(argv, _flags)
    for name in names:
        if name not in PARTS:
            known = "] [".join(PARTS)
            raise UserError(f"there is no part {name!r}: python -m natra_jax.speed [{known}]")
    device = command.devices()[0]
    machine = f"{device.platform} ({device.device_kind}), JAX {jax.__version__}"
    print(f"{machine}, medians of alternated runs")
    for name in names or PARTS:
        title, candidates = PARTS[name]
        seconds = measure(candidates())
        first = next(iter(seconds.values()))
        print(f"\n{title}")
        for candidate, value in seconds.items():
            ratio = f"{value / first:7.3f} of the first"
            print(f"  {candidate:42} {1e3 * value:9.1f} ms   {ratio}", flush=True)


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    command.run(main, sys.argv, interrupted="interrupted", place="standard output")


def _flags(_: object) -> None:
    """Define no flags but those of every command."""
