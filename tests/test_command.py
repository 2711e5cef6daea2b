"""What all commands share: devices that are not there, and disks that refuse."""

import errno
import os
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


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "free some space, or choose another --dest"),
        (errno.EDQUOT, "free some space, or choose another --dest"),
        (errno.EFBIG, "raise that, or choose another --dest"),
        (errno.EROFS, "choose another --dest"),
        (errno.EACCES, "check the permissions, or choose another --dest"),
        (errno.EIO, "check the disk"),
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
