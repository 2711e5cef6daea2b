"""What all commands share: flags, --help, exit codes, and a user's mistake in one line.

Exit code 0: done. 2: something the user can put right, said in one line on stderr. 1: a defect of
ours, with its traceback. 130: interrupted by Ctrl-C. 141: nobody reads the output any more.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence

from absl import flags

from natra_jax import __version__
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
    errno.ENAMETOOLONG: "choose another {} with shorter names",
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
        "something else stands there: move it away, or choose another {}",
    ),
}

Define = Callable[[flags.FlagValues], None]  # adds a command's flags


def parse(argv: Sequence[str], define: Define) -> tuple[flags.FlagValues, list[str]]:
    """Return the values of a command's flags and, in order, what in argv is none.

    Raises UserError, in one line, for flags that are unknown or wrong.
    """
    values = _flags(define)
    try:
        return values, values(argv)[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).split())) from error


def wants_help(argv: Sequence[str]) -> bool:
    """Return whether one of absl's flags for help is among argv."""
    return bool(_HELP & set(argv))


def show_help(doc: str | None, define: Define, ending: str = "") -> None:
    """Print a command's documentation, its flags and, behind them, the ending."""
    values = _flags(define)
    named = {flag.name: flag for flag in (values[name] for name in values)}
    rows = [(_usage(flag), flag.help) for flag in named.values()]
    print("\n".join([doc or "", "Flags:", "", columns(rows), ending]).rstrip())


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

    Args:
      main: the command.
      argv: the command line, the program's name first.
      interrupted: what to say after Ctrl-C.
      directory: the flag or argument by which the user chooses where to write.
      place: where main writes, for an error of the file system that names no file; '' stands for
        the value of the flag directory.
    """
    if "--version" in argv:
        print(f"natra_jax {__version__}")
        return
    # names of files need not be in the encoding of the terminal
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_arguments(argv)
        main(argv)
    except UserError as error:
        _fail(str(error), argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes stdout once more at its end
        sys.exit(141)
    except OSError as error:
        if error.errno not in _USERS_DISK:
            raise
        where = error.filename2 or error.filename or place or _value(argv, directory)
        advice = _USERS_DISK[error.errno].format(directory)
        _fail(f"{where}: {error.strerror}: {advice}", argv)
    except KeyboardInterrupt:
        print(f"\nnatra_jax: {interrupted}", file=sys.stderr)
        sys.exit(130)


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
    if "--debug" in argv:  # not the flag's value: parsing itself may be what failed
        traceback.print_exc()
    print("natra_jax: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
