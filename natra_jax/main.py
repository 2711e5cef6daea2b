"""The command line: flags to pipeline.

    python -m natra_jax.main --config=experiments/digits.py --workdir=DIR [--stages=a,b] [--config.field=value ...]

Exit code 0: done. 2: something the user can put right, said in one line on stderr. 1: a defect of ours, with its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from natra_jax import command, pipeline
from natra_jax import config as experiment
from natra_jax.types import UserError

_DEFAULT_CONFIG = "experiments/digits.py"
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    f"The experiment, {_DEFAULT_CONFIG} by default; its fields are set as --config.field=value.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory or bucket that everything is written into."
)
_SCRATCH = flags.DEFINE_string(
    "scratch", None, "Local directory for memory-mapped copies, where workdir is a bucket."
)
_STAGES = flags.DEFINE_list(
    "stages", list(pipeline.STAGES), f"Which to run, of {','.join(pipeline.STAGES)}."
)
_DEBUG = flags.DEFINE_bool(
    "debug", False, "Show the traceback of errors that the user can put right, too."
)


def main(_: Sequence[str]) -> None:
    import jax

    logging.set_verbosity(logging.WARNING)  # orbax reports every step of every save
    pipeline.run(
        _CONFIG.value,
        _WORKDIR.value,
        devices=jax.local_devices(),
        stages=_STAGES.value,
        scratch=_SCRATCH.value,
        log=lambda line: print(line, flush=True),
    )


def parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's parsing, with every mistake as a UserError of one line."""
    argv = [_with_found_config(argument) for argument in _joined(argv)]
    if not any(argument.startswith("--config=") for argument in argv):
        argv.insert(1, _with_found_config(f"--config={_DEFAULT_CONFIG}"))
    path = next(a for a in reversed(argv) if a.startswith("--config=")).removeprefix("--config=")
    loaded = None
    for argument in argv:
        if argument.startswith("--config."):
            loaded = loaded or experiment.load(path)
            experiment.check_field(argument.removeprefix("--config.").split("=")[0], loaded)
    if loaded is None and not command.HELP & set(argv):
        experiment.load(path)
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).split())) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: flags are written --name=value")
    if not _WORKDIR.value and not flags.FLAGS.help:
        raise UserError("--workdir=DIR is missing: name the directory to write into")
    return rest


def run() -> None:
    """The entry point: exit codes and one-line errors around `main`."""
    command.run(
        lambda: app.run(main, flags_parser=parse_flags),
        sys.argv,
        place=lambda: _WORKDIR.value,
        interrupted="interrupted; the same command continues from here",
    )


def _joined(argv: Sequence[str]) -> list[str]:
    """'--config X' and '--config.field X' as '--config=X' and '--config.field=X'."""
    joined: list[str] = []
    for argument in argv:
        if (
            joined
            and joined[-1].startswith("--config")
            and "=" not in joined[-1]
            and not argument.startswith("--")
        ):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _with_found_config(argument: str) -> str:
    prefix = "--config="
    return (
        prefix + experiment.find(argument.removeprefix(prefix))
        if argument.startswith(prefix)
        else argument
    )


if __name__ == "__main__":
    run()
