"""What all commands share: devices that are not there, and disks that refuse."""

import errno
import os
import re
import sys
from importlib import import_module

import jax
import pytest

from natra_jax import command

ARGUMENTS = {
    "main": ["--config=experiments/smoke.py", "--workdir={tmp}/work"],
    "predict": ["--workdir={tmp}/work", "cat.png"],
    "speed.__main__": ["attack"],
    "weights.__main__": ["{tmp}/generator.npz"],
}


# ml_collections' own, on reading a config file
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("error", [RuntimeError("Unable to\ninitialize"), AssertionError()])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_unknown_platform_is_one_line_of_every_command(
    name, error, tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise error

    for asks in ("devices", "local_devices"):
        monkeypatch.setattr(jax, asks, fail)
    monkeypatch.setenv("JAX_PLATFORMS", "tpuu\x1b[2J")
    monkeypatch.setattr(
        sys, "argv", [name, *(word.replace("{tmp}", str(tmp_path)) for word in ARGUMENTS[name])]
    )
    with pytest.raises(SystemExit) as exit_:
        import_module(f"natra_jax.{name}").run()
    out, err = capsys.readouterr()
    assert (exit_.value.code, out) == (2, "")
    assert err.startswith(r"natra_jax: JAX finds no devices of JAX_PLATFORMS='tpuu\x1b[2J': leave ")
    assert err.count("\n") == 1 and not [*tmp_path.iterdir()]


EMPTY = {
    "predict": [["--workdir=d", ""], ["--workdir=", "cat.png"]],
    "main": [["--workdir="], ["--workdir=d", "--scratch="], ["--workdir=d", "--config="]],
    "main without a flag": [["--workdir=d", ""]],
    "weights.__main__": [[""], ["g.npz", ""]],
    "report.__main__": [["a", "", "--out=d"], ["a", "b", "--out="]],
    "data.__main__": [["import", ""], ["import", "mnist", "--source=s", "--dest="]],
    "speed.__main__": [[""]],
}


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections' own
@pytest.mark.parametrize(
    "name, arguments", [(name, one) for name, several in EMPTY.items() for one in several]
)
def test_an_empty_path_is_missing_and_not_the_current_directory(
    name, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    module = import_module(f"natra_jax.{name.partition(' ')[0]}")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as exit_:
        module.run()
    out, err = capsys.readouterr()
    assert (exit_.value.code, out, err.count("\n")) == (2, "", 1) and not [*tmp_path.iterdir()]
    flag = next((one for one in arguments if one.endswith("=")), "")
    assert re.match(
        f"natra_jax: {flag}[A-Z]+ is missing: " if flag else "natra_jax: an argument is empty: ",
        err,
    ), err


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("main", ["--config=experiments/smoke.py", "--workdir={deep}"]),
        ("main", ["--config=experiments/smoke.py", "--workdir", "{deep}"]),
        ("main", ["--workdir={tmp}/work", "--scratch={deep}"]),
        ("weights.__main__", ["{tmp}/generator.npz", "{deep}"]),
        ("report.__main__", ["a", "b", "--out={deep}"]),
        ("data.__main__", ["import", "mnist", "--source={tmp}", "--dest={deep}"]),
    ],
)
def test_a_path_of_thousands_of_folders_is_one_line(name, arguments, tmp_path, monkeypatch, capsys):
    deep = f"{tmp_path}{'/b' * 1500}"
    words = [word.replace("{tmp}", str(tmp_path)).replace("{deep}", deep) for word in arguments]
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as exit_:
        import_module(f"natra_jax.{name}").run()
    out, err = capsys.readouterr()
    assert (exit_.value.code, out, err.count("\n")) == (2, "", 1) and not [*tmp_path.iterdir()]
    assert re.search(r"=/\S+[.]{3}: is \d+ folders deep: choose a path of at most 500$", err), err


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "free some space, or choose another --dest"),
        (errno.EDQUOT, "free some space, or choose another --dest"),
        (errno.EFBIG, "raise that, or choose another --dest"),
        (errno.EROFS, "choose another --dest"),
        (errno.EACCES, "check the permissions, or choose another --dest"),
        (errno.EIO, "check the disk"),
        (errno.EMFILE, "allow more open files (ulimit -n), or close what has many of them open"),
        (errno.ENFILE, "allow more open files (ulimit -n), or close what has many of them open"),
        (errno.ENAMETOOLONG, "choose another --dest with shorter names"),
        (errno.ENOTDIR, "something else stands there: move it away, or choose another --dest"),
    ],
)
@pytest.mark.parametrize("file", ["there/a\n.npz", None])
def test_what_a_disk_refuses_is_one_line_with_what_to_do(number, advice, file, capsys):
    def fail(argv):
        raise OSError(number, os.strerror(number), file)

    with pytest.raises(SystemExit) as exit_:
        command.run(fail, ["x", "--dest=here"], interrupted="interrupted", directory="--dest")
    said = capsys.readouterr().err
    where = "here" if file is None else r"there/a\n.npz"
    assert exit_.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"natra_jax: {where}: {os.strerror(number)}: ")
    assert said.endswith(f"{advice}\n")
