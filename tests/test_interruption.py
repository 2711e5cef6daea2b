"""Ctrl-C, SIGTERM and SIGHUP: one line and 128 + the signal's number, and nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from natra_jax import interruption

ROOT = Path(__file__).parents[1]
ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

HEARD = """
import signal, sys, time
from natra_jax import interruption

# what runs in the background, or under nohup, ignores some
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)

interruption._PATIENCE = 0.3
interruption.install()
interruption.announce("interrupted here")

def stepping():
    with interruption.holding(lambda: print("given back", flush=True)):
        try:
            print("ready", flush=True)
            for _ in range(10**6):
                interruption.check()
                time.sleep(0.01)
        finally:
            print("unwound", flush=True)

def busy():
    with interruption.holding(lambda: print("given back", flush=True)):
        print("ready", flush=True)
        time.sleep(60)

def patient():
    interruption._PATIENCE = 60.0
    busy()

def free():
    print("ready", flush=True)
    time.sleep(60)

try:
    globals()[sys.argv[1]]()
except KeyboardInterrupt as error:
    interruption.leave(error)
"""


def heard(doing, *signals, apart=0.0):
    """Return (exit code, stdout behind 'ready', stderr, seconds) of HEARD after the signals."""
    with subprocess.Popen(
        [sys.executable, "-c", HEARD, doing],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout.readline() == "ready\n"
        started = time.monotonic()
        for number in signals:
            run.send_signal(number)
            time.sleep(apart)
        try:
            out, err = run.communicate(timeout=30)
        finally:
            run.kill()
    return run.returncode, out.split(), err, time.monotonic() - started


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize(
    ("doing", "left"),
    [("stepping", ["unwound"]), ("free", []), ("busy", ["given", "back"])],
)
def test_a_signal_ends_in_one_line_and_gives_back_what_is_held(number, doing, left):
    code, out, err, _ = heard(doing, number)
    assert (code, out, err) == (ENDINGS[number], left, "natra_jax: interrupted here\n")


def test_a_second_ctrl_c_ends_at_once_and_one_that_a_parent_forwards_is_no_second():
    code, out, err, took = heard("patient", signal.SIGINT, signal.SIGINT, apart=0.6)
    assert (code, out, err) == (130, ["given", "back"], "natra_jax: interrupted here\n")
    assert took < 3
    code, out, err, _ = heard("stepping", signal.SIGINT, signal.SIGINT)
    assert (code, out, err) == (130, ["unwound"], "natra_jax: interrupted here\n")


def test_what_is_ignored_stays_ignored():
    script = (
        "import os, signal\nfrom natra_jax import interruption\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "interruption.install()\nos.kill(os.getpid(), signal.SIGHUP)\n"
        "assert not interruption.requested()\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_library_hears_nothing():
    before = signal.getsignal(signal.SIGINT)
    with interruption.holding(lambda: None):
        interruption.check()
    assert not interruption.requested() and signal.getsignal(signal.SIGINT) is before


# what runs in the background of a shell ignores Ctrl-C
IN_THE_FOREGROUND = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run(directory, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-c", IN_THE_FOREGROUND),
            *("-m", "natra_jax.main", "--config=experiments/smoke.py", *arguments),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(directory)},
    )


def _catches(process, number):
    """Tell whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells who catches signals")
def test_the_real_command_ends_in_one_line_while_it_imports(tmp_path):
    with run(tmp_path, f"--workdir={tmp_path}/work") as started:
        while not _catches(started.pid, signal.SIGTERM):
            time.sleep(0.02)
        os.killpg(started.pid, signal.SIGINT)
        out, err = started.communicate(timeout=30)
    assert (started.returncode, out, err) == (130, "", "natra_jax: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_at_any_moment_one_line_and_the_same_command_then_finishes_with_the_same_records(tmp_path):
    for name in ("whole", "interrupted", "temporary"):
        (tmp_path / name).mkdir()
    with run(tmp_path / "temporary", f"--workdir={tmp_path}/whole") as whole:
        started = time.monotonic()
        whole.communicate()
        seconds = time.monotonic() - started
    assert whole.returncode == 0
    draw = random.Random(0)
    workdir = f"--workdir={tmp_path}/interrupted"
    for _ in range(20):
        number = draw.choice(list(ENDINGS))
        with run(tmp_path / "temporary", workdir) as begun:
            try:
                begun.wait(draw.uniform(1.0, seconds / 4))
            except subprocess.TimeoutExpired:
                os.killpg(begun.pid, number)
            out, err = begun.communicate(timeout=60)
        if begun.returncode == 0:
            break
        assert begun.returncode == ENDINGS[number], out + err
        assert err.count("\n") == 1 and err.startswith("natra_jax: interrupted"), err
        assert list((tmp_path / "temporary").iterdir()) == []
        assert not (tmp_path / "interrupted" / "lease.json").exists()
    with run(tmp_path / "temporary", workdir) as last:
        out, err = last.communicate()
    assert last.returncode == 0, out + err
    records = [(tmp_path / name / "records.jsonl").read_text() for name in ("whole", "interrupted")]
    assert records[0] == records[1]
