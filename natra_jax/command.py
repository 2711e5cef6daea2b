"""What all commands share: their exit codes, and a user's mistake in one line.

Exit code 0: done. 2: something the user can put right, said in one line on stderr. 1: a defect of ours, with its traceback.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence

from natra_jax.types import UserError

HELP = {"--help", "--helpfull", "--helpshort", "-help", "-h"}

# What a file system says when the user's disk, path or permissions are at fault.
_USERS_DISK = {
    errno.ENOSPC: "free some space, or choose another {}",
    errno.EDQUOT: "free some space, or choose another {}",
    errno.EROFS: "choose another {}",
    errno.EACCES: "check the permissions, or choose another {}",
    errno.EPERM: "check the permissions, or choose another {}",
    errno.EIO: "check the disk",
}


def run(
    command: Callable[[], None],
    argv: Sequence[str],
    *,
    place: Callable[[], str | None],
    interrupted: str,
    directory: str = "--workdir",
) -> None:
    """Runs the command and leaves the process with the exit code where that is not 0.

    place: where it was writing or reading, for an error of the file system that names no file. interrupted: what to say after Ctrl-C.
    directory: what the user may choose anew where the disk is at fault.
    With --debug in argv a user's mistake shows its traceback.
    """
    try:
        command()
    except UserError as error:
        _fail(str(error), argv)
    except OSError as error:
        if error.errno not in _USERS_DISK:
            raise
        _fail(
            f"{error.filename or place()}: {error.strerror}: {_USERS_DISK[error.errno].format(directory)}",
            argv,
        )
    except SystemExit as exit_:
        # absl leaves with 1 after showing the help that was asked for
        sys.exit(0 if HELP & set(argv) else exit_.code)
    except KeyboardInterrupt:
        print(f"\nnatra_jax: {interrupted}", file=sys.stderr)
        sys.exit(130)


def _fail(message: str, argv: Sequence[str]) -> None:
    if "--debug" in argv:  # not the flag's value: parsing itself may be what failed
        raise  # noqa: PLE0704, the handler that called is still active
    print("natra_jax: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
