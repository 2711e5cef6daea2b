"""A killed fit ends in the same bits as an uninterrupted one, and a failing one says why."""

import math
import re
import shutil
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

from natra_jax.data.loader import PrefetchOptions
from natra_jax.training import checkpoint, loop
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.training.parallel import compile_step
from natra_jax.types import UserError
from tests.training import small

OPTIMIZER = optax.adamw(1e-2)
ROOT = Path(__file__).parents[2]


class Killed(Exception):
    pass


class Walk(NamedTuple):
    """The state of a toy: a random walk by (key, step) over the batches it is shown."""

    step: jax.Array
    place: jax.Array
    key: jax.Array


def walk(key=0):
    return Walk(jnp.zeros((), jnp.int32), jnp.zeros(5), jax.random.key(key))


def walk_maker(axis_name):
    def step(scale, state, batch):
        drawn = jax.random.normal(jax.random.fold_in(state.key, state.step), state.place.shape)
        moved = (
            batch["x"].mean() if axis_name is None else jax.lax.pmean(batch["x"].mean(), axis_name)
        )
        place = 0.9 * state.place + scale * drawn + moved
        return Walk(state.step + 1, place, state.key), {"far": jnp.abs(place).max()}

    return step


def walk_batch(step):
    return {"x": np.random.default_rng(step).normal(size=4).astype(np.float32)}


def killed_at(step, batch_at):
    def batch(asked):
        if asked == step:
            raise Killed
        return batch_at(asked)

    return batch


def fit(step, frozen, state, batch_at, directory, **options):
    """Ten steps with a checkpoint every three and a line of history every two.

    (state, history, what was said).
    """
    said = []
    settings = {"num_steps": 10, "checkpoint_every": 3, "log_every": 2} | options
    with Checkpoints(epath.Path(directory)) as checkpoints:
        state, history = loop.run(
            step,
            frozen,
            state,
            batch_at,
            checkpoints=checkpoints,
            name="toy",
            log=said.append,
            **settings,
        )
    return state, history, said


def reading_threads():
    """Those that still read batches, after a while for them to end."""
    end = time.monotonic() + 10
    while (
        alive := [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]
    ) and time.monotonic() < end:
        time.sleep(0.01)
    return alive


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@cache
def natra_step():
    return compile_step(small.step_maker(OPTIMIZER, "batch"), jax.devices()[:1])


def test_natra_killed_between_checkpoints_ends_in_the_same_bits(tmp_path):
    method = small.method()
    whole, history, _ = fit(
        natra_step(), method, small.state(OPTIMIZER, "batch"), small.batch_at, tmp_path / "whole"
    )
    with pytest.raises(Killed):  # at step 8, of which steps 6 and 7 are lost
        fit(
            natra_step(),
            method,
            small.state(OPTIMIZER, "batch"),
            killed_at(8, small.batch_at),
            tmp_path / "killed",
        )
    state, again, said = fit(
        natra_step(), method, small.state(OPTIMIZER, "batch"), small.batch_at, tmp_path / "killed"
    )
    assert said[0] == "toy: continuing from step 6"
    assert_same_bits(state, whole)
    assert again == history and [entry["step"] for entry in history] == [2, 4, 6, 8, 10]
    assert int(state.step) == 10 and np.any(np.asarray(state.epsilon) > 0)


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_several_devices_continue_from_their_checkpoint_in_the_same_bits(tmp_path, mode):
    step = compile_step(walk_maker, jax.devices()[:4], mode)
    whole, history, _ = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(step, jnp.float32(0.1), walk(), killed_at(7, walk_batch), tmp_path / "killed")
    state, again, _ = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "killed")
    assert_same_bits(state, whole)
    assert again == history


@pytest.mark.parametrize(("devices", "mode"), [(1, "auto"), (4, "pmap"), (4, "shard_map")])
def test_who_reads_the_batches_and_where_they_are_placed_changes_no_bit(tmp_path, devices, mode):
    step = compile_step(walk_maker, jax.devices()[:devices], mode)
    state = walk()
    for i in range(10):
        state, metrics = step(jnp.float32(0.1), state, walk_batch(i))
    asked = []

    def batch_at(step):
        asked.append(step)
        return walk_batch(step)

    ways = [
        {"prefetch_options": PrefetchOptions(threads), "to_device": place}
        for threads, place in ((0, None), (1, step.to_device), (3, step.to_device), (3, None))
    ]
    for number, way in enumerate(ways):
        ended, history, _ = fit(
            step, jnp.float32(0.1), walk(), batch_at, tmp_path / str(number), **way
        )
        assert_same_bits(ended, state)
        assert history[-1] == {"step": 10, "far": float(metrics["far"])}
    assert sorted(asked) == sorted(list(range(10)) * len(ways)), (
        "every step's batch is read once, and none beyond the last"
    )


def test_reading_ends_with_a_fit_that_fails(tmp_path):
    def step(frozen, state, batch):
        return state._replace(step=state.step + 1), {
            "loss": jnp.where(state.step >= 3, jnp.nan, 1.0)
        }

    with pytest.raises(UserError):
        fit(step, None, walk(), walk_batch, tmp_path / "diverged", num_steps=10**6)
    assert not reading_threads()
    with pytest.raises(Killed):
        fit(step, None, walk(), killed_at(2, walk_batch), tmp_path / "killed", num_steps=10**6)
    assert not reading_threads()


def test_a_checkpoint_holds_the_state_of_its_step_however_fast_training_goes_on(tmp_path):
    step = compile_step(walk_maker, jax.devices()[:1])
    expected, _, _ = fit(
        step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "three", num_steps=3
    )
    with pytest.raises(
        Killed
    ):  # the buffers of step 3 are given to step 4 while they are being written
        fit(step, jnp.float32(0.1), walk(), killed_at(5, walk_batch), tmp_path / "more")
    with Checkpoints(epath.Path(tmp_path / "more")) as checkpoints:
        restored, _ = checkpoints.restore(walk(), print)
    assert_same_bits(restored, expected)


def test_a_finished_fit_takes_no_step_and_answers_the_same(tmp_path):
    step = compile_step(walk_maker, jax.devices()[:1])
    first, history, _ = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path)
    second, again, said = fit(step, jnp.float32(0.1), walk(), killed_at(10, walk_batch), tmp_path)
    assert_same_bits(second, first)
    assert again == history and said == ["toy: continuing from step 10"]


def test_lines_tell_the_step_and_the_metrics_that_history_keeps(tmp_path):
    step = compile_step(walk_maker, jax.devices()[:1])
    _, history, said = fit(
        step, jnp.float32(0.1), walk(), walk_batch, tmp_path, num_steps=5, log_every=3
    )
    assert [entry["step"] for entry in history] == [3, 5]
    assert said == [f"toy: step {entry['step']}/5  far {entry['far']:.4g}" for entry in history]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_finite_number_stops_training_naming_the_step(tmp_path, value):
    def step(frozen, state, batch):
        done = state._replace(step=state.step + 1)
        return done, {"loss": jnp.where(done.step >= 5, value, 1.0), "accuracy": jnp.float32(0.5)}

    with pytest.raises(
        UserError, match=r"toy: .* step 6: .*'loss': (nan|inf).*: training diverged"
    ):
        fit(step, None, walk(), walk_batch, tmp_path)


# In a process of its own, because what orbax's threads say after a failure belongs to the question.
DAMAGES = """
import pathlib, shutil, sys
import jax, jax.numpy as jnp
from etils import epath
from natra_jax.training import checkpoint

root = epath.Path(sys.argv[1])
weights = jax.random.normal(jax.random.key(0), (50, 50))
state = {"weights": weights, "step": jnp.int32(2), "key": jax.random.key(1)}
with checkpoint.Checkpoints(root / "whole") as checkpoints:
    checkpoints.save(2, state, [{"step": 2, "loss": 0.5}])

def load(name, like=state):
    with checkpoint.Checkpoints(root / name) as checkpoints:
        return checkpoints.restore(like, print)

assert (load("whole")[0]["weights"] == state["weights"]).all()

def try_loading(name, like=state):
    if load(name, like) is not None:
        print(name, "was read")

def cut(name, pattern, length):
    shutil.copytree(root / "whole", root / name)
    paths = list((pathlib.Path(root) / name / "2").glob(pattern))
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes()[:length])
    try_loading(name)

for length in (0, 5, 40):
    cut(f"data{length}", "state/**/d/*", length)
    cut(f"manifest{length}", "state/**/manifest.ocdbt", length)
for name in ("state/_METADATA", "history/metadata"):
    cut(name.partition("/")[0], name, 7)
for old, new in ((b"0.5", b"0.7"), (b"checksums", b"checksumz")):
    name = f"altered{len(old)}"
    shutil.copytree(root / "whole", root / name)
    path = pathlib.Path(root) / name / "2" / "history" / "metadata"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    try_loading(name)
try_loading("whole", state | {"weights": jnp.zeros((50, 51))})
try_loading("whole", state | {"bias": jnp.zeros(3)})
"""


def test_damaged_and_foreign_checkpoints_are_not_read_and_said_in_a_line(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", DAMAGES, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and len(lines) == 12 and run.stderr == "", run.stdout + run.stderr
    names = [
        "data0",
        "manifest0",
        "data5",
        "manifest5",
        "data40",
        "manifest40",
        "state",
        "history",
        "altered3",
        "altered9",
        "whole",
        "whole",
    ]
    for line, name in zip(lines, names, strict=True):
        assert line.startswith(f"{tmp_path / name}: the checkpoint of step 2 cannot be read (")
        assert line.endswith("): steps 1 to 2 are trained again")


@pytest.mark.parametrize("met", ["Too many open files", "PERMISSION_DENIED"])
def test_a_checkpoint_that_cannot_be_read_for_now_is_not_trained_again(met, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError(f'OTHER: {met}: local file "/c/9d" [tensorstore_spec=...]')

    state = {"weights": jnp.zeros(3)}
    with Checkpoints(epath.Path(tmp_path)) as checkpoints:
        checkpoints.save(2, state, [])
    with Checkpoints(epath.Path(tmp_path)) as checkpoints:
        monkeypatch.setattr(checkpoints, "_read", fail)
        with pytest.raises(UserError) as error:
            checkpoints.restore(state, print)
    start = rf"{tmp_path}: the checkpoint of step 2 cannot be read \(its file 9d [^:]*\): "
    assert re.match(start + "(change its permissions|allow more open files)", str(error.value))


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << (at % 8)
    path.write_bytes(raw)


@pytest.mark.slow
def test_no_flipped_bit_of_a_checkpoint_changes_what_is_restored_unnoticed(tmp_path):
    rng = np.random.default_rng(0)
    state = Walk(jnp.int32(2), jnp.asarray(rng.normal(size=(40, 40))), jax.random.key(1))
    with Checkpoints(epath.Path(tmp_path / "whole")) as checkpoints:
        checkpoints.save(2, state, [{"step": 2, "loss": 0.5}])
    files = sorted(path for path in (tmp_path / "whole").rglob("*") if path.is_file())
    noticed = 0
    for trial in range(60):
        directory = tmp_path / str(trial)
        shutil.copytree(tmp_path / "whole", directory)
        file = directory / files[trial % len(files)].relative_to(tmp_path / "whole")
        if size := file.stat().st_size:
            flip(file, int(rng.integers(size)))
        with Checkpoints(epath.Path(directory)) as checkpoints:
            restored = checkpoints.restore(state, lambda line: None)
        if restored is None:
            noticed += 1
        else:
            assert_same_bits(restored[0], state)
            assert restored[1] == [{"step": 2, "loss": 0.5}]
    assert noticed > 5


def test_an_array_that_is_not_as_it_was_saved_is_noticed_and_the_one_before_it_continues(
    tmp_path, monkeypatch
):
    step = compile_step(walk_maker, jax.devices()[:1])
    whole, history, _ = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(step, jnp.float32(0.1), walk(), killed_at(8, walk_batch), tmp_path / "killed")
    # arrays whose files orbax itself finds nothing wrong with
    sums = iter([{"place": 1}])
    original = checkpoint._checksums
    monkeypatch.setattr(checkpoint, "_checksums", lambda *a: next(sums, None) or original(*a))
    state, again, said = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "killed")
    assert said[0].startswith(
        f"{tmp_path / 'killed'}: the checkpoint of step 6 cannot be read (its "
    )
    assert said[0].endswith("): steps 4 to 6 are trained again")
    assert said[1] == "toy: continuing from step 3"
    assert_same_bits(state, whole)
    assert again == history
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["10"]


def test_where_no_checkpoint_is_whole_training_begins_anew_and_says_so(tmp_path):
    step = compile_step(walk_maker, jax.devices()[:1])
    whole, history, _ = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(step, jnp.float32(0.1), walk(), killed_at(8, walk_batch), tmp_path / "killed")
    for path in (tmp_path / "killed").glob("*/state/**/d/*"):
        path.write_bytes(path.read_bytes()[:5])
    state, again, said = fit(step, jnp.float32(0.1), walk(), walk_batch, tmp_path / "killed")
    assert [line.rpartition("): ")[2] for line in said[:2]] == [
        "steps 1 to 6 are trained again",
        "steps 1 to 3 are trained again",
    ]
    assert said[2].startswith("toy: step 2/10")
    assert_same_bits(state, whole)
    assert again == history
