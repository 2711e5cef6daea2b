"""Memory and threads that run out are one line with exit code 2, and nothing waits for ever."""

import errno
import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from natra_jax import command, shortage, trees
from natra_jax.data.importing import containers
from natra_jax.types import UserError

ROOT = Path(__file__).parents[1]
SHORT = [
    MemoryError(),
    MemoryError("Unable to allocate 3.00 GiB"),
    RuntimeError("can't start new thread"),
    ImportError("libXau-154567c4.so.6.0.0: failed to map segment from shared object"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes."),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]
OTHERS = [
    RuntimeError("no"),
    ImportError("No module named 'x'"),
    OSError(errno.EBADF, "Bad file descriptor"),
    ValueError("RESOURCE_EXHAUSTED: No space left on device"),
]


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_a_shortage_is_one_line_of_a_command(error, capsys):
    def fail(argv):
        raise error

    with pytest.raises(SystemExit) as exit_:
        command.run(fail, ["x"], interrupted="interrupted")
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and said.count("\n") == 1
    assert said.startswith("natra_jax: not enough memory for this command: ")
    assert said.endswith("(ulimit -v, ulimit -u)\n")


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_stay_defects(error):
    def fail(argv):
        raise error

    with pytest.raises(type(error)):
        command.run(fail, ["x"], interrupted="interrupted")


@pytest.mark.parametrize("error", SHORT[:4], ids=str)
def test_no_reader_takes_a_shortage_for_a_fault_of_its_file(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(UserError, match=f"^not enough memory for {tmp_path}/a.npz: .*: free some"):
        trees.read(epath.Path(tmp_path / "a.npz"))
    with (
        pytest.raises(UserError, match=f"^not enough memory for {tmp_path}: .*: free some"),
        containers.parsing(tmp_path, "table", "look"),
    ):
        fail()


BEGUN = """
import sys, threading, types
from natra_jax import entry

sys.modules["broken"] = types.ModuleType("broken")

def run():
    error = threading.ExceptHookArgs([{0}, {0}("said"), None, threading.current_thread()])
    threading.excepthook(error)
    threading.Event().wait(0.5)
    print("went on")

sys.modules["broken"].run = run
entry.start("broken")
"""


@pytest.mark.parametrize("kind, code", [("MemoryError", 2), ("KeyError", 0)])
def test_a_thread_that_memory_fails_ends_the_process_that_would_wait_for_it(kind, code):
    done = subprocess.run(
        [sys.executable, "-c", BEGUN.format(kind)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == code
    if code:
        assert done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("natra_jax: not enough memory for this command: ")
    else:
        assert done.stdout == "went on\n" and "KeyError: 'said'" in done.stderr


def test_an_import_that_memory_fails_is_one_line(tmp_path):
    (tmp_path / "short.py").write_text("raise ImportError('libx.so: failed to map segment')")
    code = "from natra_jax import entry; entry.start('short')"
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("natra_jax: not enough memory for this command: libx.so: ")


def test_threads_that_would_not_start_are_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    shortage.require_threads(2**40, "this")  # nothing is limited
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**23, 2**23))
    shortage.require_threads(64, "this")
    with pytest.raises(UserError, match="^not enough memory for this: 64 threads take [0-9]+ MB"):
        monkeypatch.setattr(mmap, "mmap", _no_room)
        shortage.require_threads(64, "this")


def _no_room(*_):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")
