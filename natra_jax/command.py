"""What all commands share: flags, --help, exit codes, and a user's mistake in one line.

Exit code 0: done. 2: something the user can put right, said in one line on stderr. 1: a defect of
ours, with its traceback. 141: nobody reads the output any more. 130, 143 and 129: interrupted by
Ctrl-C, SIGTERM and SIGHUP, as `natra_jax.interruption` has it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import flags

from natra_jax import __version__, interruption, shortage
from natra_jax.entry import STDOUT
from natra_jax.files import MORE_OPEN_FILES
from natra_jax.printable import printable, reason
from natra_jax.types import UserError
from natra_jax.workdir import require_path

_HELP = {"--help", "--helpfull", "--helpshort", "--helpxml", "-help", "-helpfull", "-h"}
_WIDTH, _INDENT, _LEFT = 100, 2, 36  # columns: of a line, before names, before what they mean

# What a user can do where the disk, the path or permissions are at fault; {}: what to choose anew.
_USERS_DISK = {
    errno.ENOSPC: "free some space, or choose another {}",
    errno.EDQUOT: "free some space, or choose another {}",
    errno.EFBIG: "files may not be so large here (ulimit -f): raise that, or choose another {}",
    errno.EROFS: "choose another {}",
    errno.EACCES: "check the permissions, or choose another {}",
    errno.EPERM: "check the permissions, or choose another {}",
    errno.EIO: "check the disk",
    errno.EMFILE: MORE_OPEN_FILES,
    errno.ENFILE: MORE_OPEN_FILES,
    errno.ENAMETOOLONG: "choose another {} with shorter names",
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
        "something else stands there: move it away, or choose another {}",
    ),
}

Define = Callable[[flags.FlagValues], None]  # adds a command's flags


def parse(argv: Sequence[str], define: Define) -> tuple[flags.FlagValues, list[str]]:
    """Return the values of a command's flags and, in order, what in argv is none.

    Raises UserError, in one line, for flags that are unknown or wrong, and for a name or path that
    is empty.
    """
    values = _flags(define)
    try:
        others = values(argv)[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(reason(error, 1000)) from error
    if "" in others:
        raise UserError("an argument is empty: write the name or path that it stands for")
    return values, others


def wants_help(argv: Sequence[str]) -> bool:
    """Return whether one of absl's flags for help is among argv."""
    return bool(_HELP & set(argv))


def show_help(doc: str | None, define: Define, ending: str = "") -> None:
    """Print a command's documentation, its flags and, behind them, the ending."""
    values = _flags(define)
    named = {flag.name: flag for flag in (values[name] for name in values)}
    rows = [(_usage(flag), flag.help) for flag in named.values()]
    print("\n".join([doc or "", "Flags:", "", columns(rows), ending]).rstrip())


def devices() -> list[Any]:
    """Return JAX's devices. Raise UserError if there are none of the kind that is asked for."""
    import jax

    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        asked = ascii(os.environ.get("JAX_PLATFORMS", ""))
        raise UserError(
            f"JAX finds no devices of JAX_PLATFORMS={asked}: leave that out to take what there is, "
            f"or install JAX for them{f': {error}' if str(error) else ''}"
        ) from error


def say(line: str) -> None:
    """Print one line, whatever the names in it are."""
    print(printable(line), flush=True)


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return lines of at most 100 columns with names at the left and what they mean beside them."""
    lines = []
    for name, meaning in rows:
        first = " " * _INDENT + name
        if len(first) > _LEFT - 2:
            lines.append(first)
            first = ""
        wrapped = textwrap.wrap(
            meaning, _WIDTH - _LEFT, break_long_words=False, break_on_hyphens=False
        )
        lines += [
            f"{left:{_LEFT}}{right}".rstrip()
            for left, right in zip([first, *[""] * len(wrapped)], wrapped or [""], strict=False)
        ]
    return "\n".join(lines)


def run(
    main: Callable[[Sequence[str]], None],
    argv: Sequence[str],
    *,
    interrupted: str,
    directory: str = "--workdir",
    place: str = "",
) -> None:
    """Call main(argv), and leave the process with the exit code if that is not 0.

    With --debug in argv a user's mistake shows its traceback, too. --version prints the version.
    What fails because a signal has come, such as a worker that it ended, counts as interrupted.

    Args:
      main: the command.
      argv: the command line, the program's name first.
      interrupted: what to say after Ctrl-C.
      directory: the flag or argument by which the user chooses where to write.
      place: where main writes, for an error of the file system that names no file; '' stands for
        the value of the flag directory.
    """
    interruption.announce(interrupted)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have letters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if "--version" in argv:
            print(f"natra_jax {__version__}")
        else:
            _check_arguments(argv)
            _run(main, argv)
        sys.stdout.flush()  # here, where it may fail
    except UserError as error:
        _fail(str(error), argv)
    except BrokenPipeError:
        _discard(1)
        sys.exit(141)
    except OSError as error:
        if error.filename == STDOUT:
            _discard(1)
            _fail(f"{STDOUT}: {error.strerror}: write it elsewhere", argv)
        if shortage.of(error):
            _fail(shortage.line(error, "this command"), argv)
        if error.errno not in _USERS_DISK:
            raise
        where = error.filename2 or error.filename or place or _value(argv, directory)
        where = printable(os.fsdecode(where) if isinstance(where, str | bytes) else where)
        advice = _USERS_DISK[error.errno].format(directory)
        _fail(f"{where}: {error.strerror}: {advice}", argv)
    except (MemoryError, ImportError, RuntimeError) as error:
        if not shortage.of(error):
            raise
        _fail(shortage.line(error, "this command"), argv)
    except KeyboardInterrupt as error:
        interruption.leave(error)


def _run(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> None:
    try:
        main(argv)
    except Exception:
        interruption.check()  # it may have come of a signal, which workers have heard too
        raise


def _discard(number: int) -> None:
    """Send what a standard stream still holds nowhere: Python flushes it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _check_arguments(argv: Sequence[str]) -> None:
    """Raise UserError for an argument that is no text, or a path that nothing can open."""
    for argument in argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            advice = "rename what it names"
            if sys.getfilesystemencoding() != "utf-8":
                advice = "set LC_ALL=C.UTF-8, or rename what it names"
            raise UserError(f"argument {ascii(argument)} is not UTF-8 text: {advice}") from error
        flag, given, value = argument.partition("=")
        is_flag = bool(given) and flag.startswith("-")
        require_path(value if is_flag else argument, flag if is_flag else "argument")


def _flags(define: Define) -> flags.FlagValues:
    """Return flags of one command alone: others have flags of the same names."""
    values = flags.FlagValues()
    values.set_gnu_getopt()  # flags may stand behind what is none
    define(values)
    debug = "Show the traceback of errors that the user can put right, too."
    flags.DEFINE_bool("debug", False, debug, flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    flags.DEFINE_bool("version", False, "Print the version.", flag_values=values)
    return values


def _usage(flag: flags.Flag) -> str:
    """Return a flag as it is written, with its default where that is short."""
    if flag.boolean:
        return f"--{flag.name}" if flag.name == "help" else f"--[no]{flag.name}"
    default = flag.default if isinstance(flag.default, str | int) else ""
    return f"--{flag.name}={default}"


def _value(argv: Sequence[str], flag: str) -> str:
    """Return the value that argv gives to a flag, or the flag's name if it gives none."""
    given = [argument for argument in argv if argument.startswith(f"{flag}=")]
    return given[-1].partition("=")[2] if given else flag


def _fail(message: str, argv: Sequence[str]) -> None:
    try:
        if "--debug" in argv:  # not the flag's value: parsing itself may be what failed
            print("\n".join(map(printable, traceback.format_exc().split("\n"))), file=sys.stderr)
        print(f"natra_jax: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)
    except OSError:  # nobody can be told
        _discard(2)
    sys.exit(2)
