"""Run an experiment: train classifiers against what varies naturally, and measure what was fixed.

All is written into the work directory; report/index.html there shows the results. What is done
there already is skipped, and what was interrupted continues.

The default experiment, colour digits; nothing is downloaded:

    python -m natra_jax.main --workdir=runs/digits

Photos of your own, in a folder with a subfolder for each class:

    python -m natra_jax.main --config=experiments/folder.py --workdir=runs/photos \\
        --config.data.path=PHOTOS

A changed field: what depends on it runs again, and nothing else:

    python -m natra_jax.main --workdir=runs/digits --config.train.steps=1200

Seeds and methods of your own choice, in quotes:

    python -m natra_jax.main --workdir=runs/digits "--config.seeds=(0,1,2)" \\
        "--config.methods=('original','adv','natra')"

Exit code 0: done. 2: something you can put right, said in one line on stderr. 1: a defect of ours,
with its traceback. 130, 143, 129: ended by Ctrl-C, SIGTERM or SIGHUP; the same command continues.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.main"))

import sys
from collections.abc import Sequence

from absl import flags, logging
from ml_collections import config_flags

from natra_jax import command, pipeline
from natra_jax import config as experiment
from natra_jax.config import help as field_help
from natra_jax.types import UserError

_DEFAULT_CONFIG = "experiments/digits.py"
_PREFIX = "--config="


def main(argv: Sequence[str]) -> None:
    """Run what argv says. Raise UserError for a flag, field or directory that cannot be used."""
    argv = _completed(argv)
    if command.wants_help(argv):
        command.show_help(__doc__, _flags(argv), _fields(_path(argv)))
        return
    values = parse_flags(argv)

    logging.set_verbosity(logging.WARNING)  # orbax reports every step of every save
    pipeline.run(
        values.config,
        values.workdir,
        devices=command.devices(),
        stages=values.stages,
        scratch=values.scratch,
        log=command.say,
    )


def parse_flags(argv: Sequence[str]) -> flags.FlagValues:
    """Return the flags of argv, in which --config=PATH stands. Raise UserError for a mistake."""
    loaded = experiment.load(_path(argv))
    for argument in argv:
        if argument.startswith("--config."):
            name = argument.removeprefix("--config.").partition("=")[0]
            experiment.check_field(name, loaded)
    values, rest = command.parse(argv, _flags(argv))
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}: flags are written --name=value")
    if not values.workdir:
        raise UserError("--workdir=DIR is missing: name the directory to write into")
    if values.scratch == "":
        raise UserError("--scratch=DIR is missing: name a directory, or leave the flag out")
    if not values.stages:
        raise UserError("--stages names no stage: leave it out to run all")
    return values


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    command.run(main, sys.argv, interrupted="interrupted; the same command continues from here")


def _flags(argv: Sequence[str]) -> command.Define:
    def define(values: flags.FlagValues) -> None:
        config_flags.DEFINE_config_file(
            "config",
            None,
            f"The experiment, {_DEFAULT_CONFIG} if none is named; its fields are set as "
            "--config.FIELD=VALUE.",
            flag_values=values,
            sys_argv=list(argv),
        )
        flags.DEFINE_string(
            "workdir",
            None,
            "Directory or bucket that everything is written into.",
            flag_values=values,
        )
        flags.DEFINE_list(
            "stages",
            list(pipeline.STAGES),
            f"Stages to run, as A,B, of {', '.join((*pipeline.STAGES, *pipeline.ON_REQUEST))}; all "
            f"but {' and '.join(pipeline.ON_REQUEST)} if none is named.",
            flag_values=values,
        )
        flags.DEFINE_string(
            "scratch",
            None,
            "Local directory for memory-mapped copies, where workdir is a bucket.",
            flag_values=values,
        )

    return define


def _fields(path: str) -> str:
    """Return the part of --help that lists every field, with the values of an experiment."""
    sections = field_help.sections(experiment.load(path))
    heading = f"Fields, set as --config.FIELD=VALUE, with their values in {path}:"
    return "\n\n".join(["", heading, *(command.columns(rows) for rows in sections)])


def _completed(argv: Sequence[str]) -> list[str]:
    """Return argv with flags and values joined by '=', and with the path of a config that exists.

    '--config X' and '--config.field X' are joined: absl would take the config for missing.
    """
    completed: list[str] = []
    for argument in argv:
        last = completed[-1] if completed else ""
        if last.startswith("--config") and "=" not in last and not argument.startswith("--"):
            completed[-1] += f"={argument}"
        else:
            completed.append(argument)
    if not any(argument.startswith(_PREFIX) for argument in completed):
        completed.insert(1, _PREFIX + _DEFAULT_CONFIG)
    if _PREFIX in completed:
        raise UserError("--config=FILE is missing: name an experiment, or leave the flag out")
    return [
        _PREFIX + experiment.find(argument.removeprefix(_PREFIX))
        if argument.startswith(_PREFIX)
        else argument
        for argument in completed
    ]


def _path(argv: Sequence[str]) -> str:
    return [argument for argument in argv if argument.startswith(_PREFIX)][-1].removeprefix(_PREFIX)
