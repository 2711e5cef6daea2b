"""Reading ahead: the batches that batch_at gives, in order, from any step on.

What fails says so where it is asked for; nothing stays.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import cloudpickle
import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded, Files
from natra_jax.data.loader import PrefetchOptions, batches, prefetch
from natra_jax.data.workers import Portable
from natra_jax.types import Partners, UserError
from tests.helpers import few_examples

ROOT = Path(__file__).parents[2]


def batch_at(step):
    return {"x": np.arange(3) + 10 * step, "index": np.array([step], np.int32)}


def steps_of(iterator):
    return [int(batch["index"][0]) for batch in iterator]


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def gone(things, seconds=10.0):
    """Whether there are none of the things, or none before the time is over."""
    end = time.monotonic() + seconds
    while things() and time.monotonic() < end:
        time.sleep(0.01)
    return not things()


@few_examples
@given(start=st.integers(0, 5), count=st.integers(0, 8), threads=st.integers(0, 4))
def test_every_step_once_and_in_order_however_many_threads_read(start, count, threads):
    with prefetch(batch_at, start, start + count, threads=threads) as reader:
        seen = list(reader)
    assert len(seen) == count
    for step, batch in enumerate(seen, start):
        assert set(batch) == {"x", "index"}
        for name, values in batch_at(step).items():
            np.testing.assert_array_equal(batch[name], values)


@few_examples
@given(at=st.integers(0, 6), threads=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_what_was_interrupted_goes_on_from_its_state_whoever_reads(at, threads):
    first, second = (prefetch(batch_at, 2, 8, threads=count) for count in threads)
    with first, second:
        seen = [int(next(first)["index"][0]) for _ in range(at)]
        state = first.get_state()
        assert state == {"step": 2 + at}, "the step alone is enough"
        second.set_state(state)
        assert seen + steps_of(second) == list(range(2, 8))
        # back again, in the same iterator, with batches of later steps already read
        first.set_state({"step": 3})
        assert steps_of(first) == list(range(3, 8))


def test_orbax_saves_where_an_iteration_is_and_restores_it(tmp_path):
    data = {"image": np.arange(900, dtype=np.float32)[:, None]}
    made = batches(data, 100, 0)
    expected = [made(step)["index"] for step in range(12)]  # more than one epoch
    with ocp.CheckpointManager(tmp_path) as manager, prefetch(made, 0, 12) as reader:
        for step in range(5):
            np.testing.assert_array_equal(next(reader)["index"], expected[step])
        manager.save(5, args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(reader)))
        next(reader)
    with ocp.CheckpointManager(tmp_path) as manager, prefetch(made, 0, 12, threads=1) as reader:
        restored = manager.restore(
            5, args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(reader))
        )["data"]
        rest = [batch["index"] for batch in restored]
    np.testing.assert_array_equal(rest, expected[5:])


def test_a_state_that_is_none_of_this_iterations_is_refused():
    with (
        prefetch(batch_at, 0, 4) as reader,
        pytest.raises(ValueError, match="step 5 is not among the 4"),
    ):
        reader.set_state({"step": 5})


def test_batches_are_placed_by_the_threads_that_read_them():
    def to_device(batch):
        return batch["x"].sum(), threading.get_ident()

    with prefetch(batch_at, 0, 20, to_device=to_device) as reader:
        sums, where = zip(*reader, strict=True)
    assert list(sums) == [3 + 30 * step for step in range(20)]
    assert threading.get_ident() not in where and 1 <= len(set(where)) <= 2


def test_while_a_batch_is_used_the_next_ones_are_read():
    read = [threading.Event() for _ in range(3)]

    def slow(step):
        time.sleep(0.02)
        read[step].set()
        return batch_at(step)

    with prefetch(slow, 0, 3) as reader:
        for step in range(3):
            assert int(next(reader)["index"][0]) == step
            if step < 2:
                assert read[step + 1].wait(10), "nobody asked for it yet"


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_no_more_than_a_few_batches_are_alive(threads):
    alive, most = set(), []

    def weighed(step):
        x = np.zeros(10)
        alive.add(step)
        weakref.finalize(x, alive.remove, step)
        most.append(len(alive))
        return {"x": x}

    with prefetch(weighed, 0, 60, threads=threads) as reader:
        for batch in reader:
            time.sleep(0.001)  # slower than reading, so that what may be read ahead is
            del batch
    assert len(most) == 60
    # those read ahead, the one that is handed over, and the one in the caller's hands
    assert max(most) <= threads + 3
    gc.collect()
    assert not alive


def failing(step):
    if step == 3:
        raise UserError("photo 3: is damaged: remove it")
    return batch_at(step)


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_an_error_is_raised_as_it_is_at_its_own_step_and_reading_ends(threads):
    seen = []
    with pytest.raises(UserError) as caught, prefetch(failing, 0, 1000, threads=threads) as reader:
        for batch in reader:
            seen.append(int(batch["index"][0]))
    assert str(caught.value) == "photo 3: is damaged: remove it" and seen == [0, 1, 2]
    assert reader.get_state() == {"step": 3}
    assert gone(reading_threads)


def test_after_a_failure_that_passes_the_same_step_is_read_again():
    fails = [True]

    def once(step):
        if step == 3 and fails:
            fails.pop()
            raise OSError("the network is away")
        return batch_at(step)

    with prefetch(once, 0, 6) as reader:
        seen = [int(next(reader)["index"][0]) for _ in range(3)]
        with pytest.raises(OSError, match="the network is away"):
            next(reader)
        assert seen + steps_of(reader) == list(range(6))


def test_a_damaged_photo_is_named(tmp_path):
    for i in range(8):
        Image.fromarray(np.full((4, 4, 3), 30 * i, np.uint8)).save(tmp_path / f"{i}.png")
    images = Decoded(Files(str(tmp_path), [f"{i}.png" for i in range(8)]), Preprocess(4))
    made = batches({"image": images, "label": np.arange(8)}, 8, 0)
    with prefetch(made, 0, 1) as reader:
        batch = next(reader)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], 30 * batch["label"])
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:50])
    with pytest.raises(UserError, match=r"5\.png: is damaged"), prefetch(made, 0, 1) as reader:
        next(reader)


def test_the_threads_end_with_the_block_whatever_ends_it():
    with prefetch(batch_at, 0, 10**6, threads=3) as reader:
        next(reader)
        assert reading_threads()
    assert gone(reading_threads)
    with pytest.raises(KeyboardInterrupt), prefetch(batch_at, 0, 10**6) as reader:
        next(reader)
        raise KeyboardInterrupt
    assert gone(reading_threads)
    reader = prefetch(batch_at, 0, 3)
    assert steps_of(reader) == [0, 1, 2] and gone(reading_threads), "and with the last batch"
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        next(reader)


@pytest.mark.parametrize("reading", [PrefetchOptions(-1, 0), PrefetchOptions(2, -1)])
def test_fewer_readers_than_none_are_refused(reading):
    with pytest.raises(ValueError, match="must be 0 or more"):
        prefetch(batch_at, 0, 3, threads=reading.threads, workers=reading.workers)


def in_process(step, of):
    if step == 6:
        raise UserError(f"photo {step}: is damaged: remove it")
    return of(step) | {"process": np.array(os.getpid())}


def test_a_worker_process_reads_the_same_batches_fails_as_itself_and_ends(tmp_path):
    np.save(
        tmp_path / "image.npy",
        np.random.default_rng(0).integers(0, 256, (1000, 20, 20, 3), np.uint8),
    )
    image = np.load(tmp_path / "image.npy", mmap_mode="r")
    made = batches(
        {"image": image, "label": np.arange(1000)}, 50, 0, partners=Partners(("label",), 2)
    )
    made(0)

    def read(step):
        return in_process(step, made)

    started, placed = time.monotonic(), []

    def to_device(batch):
        placed.append(os.getpid())
        return batch

    with (
        pytest.raises(UserError) as caught,
        prefetch(read, 2, 100, workers=1, to_device=to_device) as reader,
    ):
        for step in range(2, 7):
            batch = next(reader)
            assert batch.pop("process") != os.getpid()
            for name, values in made(step).items():
                np.testing.assert_array_equal(batch[name], values)
                assert type(batch[name]) is np.ndarray
    assert str(caught.value) == "photo 6: is damaged: remove it" and reader.get_state() == {
        "step": 6
    }
    assert set(placed) == {os.getpid()}
    assert not multiprocessing.active_children() and time.monotonic() - started < 120


HELD = """
import multiprocessing, sys, time
import numpy as np
from natra_jax.data.loader import prefetch

def batch_at(step):
    return {"x": np.full(1000, step)}

if __name__ == "__main__":
    with prefetch(batch_at, 0, 10**6, workers=2) as reader:
        for _ in range(3):
            next(reader)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent_whatever_ends_it(tmp_path, sent):
    script = tmp_path / "held.py"
    script.write_text(HELD)
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        assert len(workers) == 2
        if sent == signal.SIGINT:
            os.killpg(run.pid, sent)  # as Ctrl-C does
        else:
            run.send_signal(sent)
        said = run.communicate(timeout=60)[1]
    assert gone(lambda: [pid for pid in workers if Path(f"/proc/{pid}").exists()])
    if sent == signal.SIGINT:
        assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt"), said


def test_a_memory_map_travels_to_a_worker_by_the_name_of_its_file(tmp_path):
    np.save(tmp_path / "image.npy", np.arange(10**6, dtype=np.uint8).reshape(1000, -1))
    np.save(
        tmp_path / "codes.npy",
        np.asfortranarray(np.arange(10**5, dtype=np.float32).reshape(1000, -1)),
    )
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "codes")}
    made = batches(mapped, 20, 0)
    there = cloudpickle.dumps(Portable(made))
    assert len(there) < 50_000
    for name, values in made(4).items():
        np.testing.assert_array_equal(cloudpickle.loads(there)(4)[name], values)
    part = batches(
        {"image": mapped["image"][100:150]}, 20, 0
    )  # a part of a map has no file of its own, and travels whole
    there = cloudpickle.dumps(Portable(part))
    assert 50_000 < len(there) < 100_000
    np.testing.assert_array_equal(cloudpickle.loads(there)(4)["image"], part(4)["image"])
