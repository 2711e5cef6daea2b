"""Weights to fine-tune, read from checkpoints as people have them; what does not fit is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from etils import epath
from flax.training.train_state import TrainState

from natra_jax.training import pretrained
from natra_jax.types import UserError

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
PARAMS = {
    "Conv_0": {"kernel": RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)},
    "Dense_0": {"bias": np.arange(3, dtype=np.float32)},
}
VARIABLES = {
    "params": PARAMS,
    "batch_stats": {"BatchNorm_0": {"mean": np.full(4, 0.5, np.float32)}},
}
PLAIN = {"params": PARAMS, "batch_stats": {}}


class Layer(NamedTuple):
    kernel: np.ndarray
    bias: np.ndarray


def like(tree, dtype=None):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), dtype or leaf.dtype), tree
    )


def arrays(tree):
    return jax.tree.map(jnp.asarray, tree)


def standard(path, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, arrays(tree))


def managed(path, states):
    with ocp.CheckpointManager(path) as manager:
        for step, args in states.items():
            manager.save(step, args=args)


def same(read, expected):
    assert jax.tree.structure(read) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def directory(tmp_path):
    return epath.Path(tmp_path) / "weights"


@pytest.mark.parametrize("variables", [VARIABLES, PLAIN], ids=["with batch_stats", "without"])
def test_variables_are_read_as_they_were_saved(directory, variables):
    standard(directory, variables)
    same(pretrained.read(directory, like(variables)), variables)


def test_params_alone_are_read_where_the_classifier_has_no_batch_stats(directory):
    standard(directory, PARAMS)
    same(pretrained.read(directory, like(PLAIN)), PLAIN)
    with pytest.raises(
        UserError, match="batch_stats/BatchNorm_0/mean is missing, expected \\[4\\]"
    ):
        pretrained.read(directory, like(VARIABLES))


def test_the_params_of_a_plain_function_are_read_without_our_name_for_them(directory):
    weights = [
        Layer(RNG.normal(size=(4, 3)).astype(np.float32), np.ones(3, np.float32)),
        {"scale": np.float32(2)},
    ]
    standard(directory, weights)
    variables = {"params": {"weights": weights}, "batch_stats": {}}
    same(pretrained.read(directory, like(variables)), variables)


def test_the_newest_step_of_a_manager_is_read_and_an_optimizers_state_beside_it_ignored(directory):
    def state(factor):
        params = jax.tree.map(lambda x: factor * x, arrays(PARAMS))
        return ocp.args.StandardSave(
            TrainState.create(apply_fn=None, params=params, tx=optax.adam(1e-3))
        )

    managed(directory, {2: state(2), 10: state(1)})
    same(pretrained.read(directory, like(PLAIN)), PLAIN)
    same(pretrained.read(directory / "10", like(PLAIN)), PLAIN)


@pytest.mark.parametrize("item", ["state", "model"])
def test_a_managers_named_item_is_found_beside_others(directory, item):
    items = {
        item: ocp.args.StandardSave(arrays(VARIABLES)),
        "history": ocp.args.JsonSave({"logged": []}),
    }
    managed(directory, {3: ocp.args.Composite(**items)})
    same(pretrained.read(directory, like(VARIABLES)), VARIABLES)


def test_other_types_are_converted(directory):
    standard(directory, jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), VARIABLES))
    read = pretrained.read(directory, like(VARIABLES, np.float32))
    same(read, jax.tree.map(lambda x: np.asarray(x, jnp.bfloat16).astype(np.float32), VARIABLES))


def changed(**params):
    return {"params": PARAMS | params, "batch_stats": VARIABLES["batch_stats"]}


OTHERS = {
    "params/Dense_0/bias is [3], expected [5]": changed(Dense_0={"bias": np.zeros(5)}),
    "params/Dense_1/bias is missing, expected [2]": changed(Dense_1={"bias": np.zeros(2)}),
    "params/Dense_0/bias is [3], which the classifier does not have": VARIABLES
    | {"params": {"Conv_0": PARAMS["Conv_0"]}},
    "batch_stats/BatchNorm_0/mean is [4], which the classifier does not have": PLAIN,
}


@pytest.mark.parametrize("line", OTHERS)
def test_weights_of_another_classifier_are_refused_naming_the_first_that_differs(directory, line):
    standard(directory, VARIABLES)
    with pytest.raises(UserError) as error:
        pretrained.read(directory, like(OTHERS[line]))
    assert str(error.value).startswith(f"{directory}: {line}") and "\n" not in str(error.value)


def test_a_directory_without_a_checkpoint_is_refused(directory):
    with pytest.raises(UserError, match="no directory"):
        pretrained.read(directory, like(VARIABLES))
    (directory / "7").mkdir(parents=True)
    with pytest.raises(UserError, match="7: holds no orbax checkpoint"):
        pretrained.read(directory, like(VARIABLES))


def test_text_beside_the_arrays_is_left_out_and_in_the_place_of_one_refused(directory):
    tree = arrays(VARIABLES) | {"note": "text", "nothing": None}
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(directory, tree)
        checkpointer.save(
            directory / "other", tree | {"batch_stats": {"BatchNorm_0": {"mean": "x"}}}
        )
    same(pretrained.read(directory, like(VARIABLES)), VARIABLES)
    with pytest.raises(UserError, match=r"mean is no array, expected \[4\]: these are another"):
        pretrained.read(directory / "other", like(VARIABLES))


def test_several_trees_are_not_chosen_between(directory):
    items = {name: ocp.args.StandardSave(arrays(VARIABLES)) for name in ("ema", "model")}
    managed(directory, {3: ocp.args.Composite(**items)})
    with pytest.raises(UserError, match="several trees of arrays, ema, model"):
        pretrained.read(directory, like(VARIABLES))
    same(pretrained.read(directory / "3" / "ema", like(VARIABLES)), VARIABLES)


def test_a_chunk_larger_than_its_array_is_refused_before_room_is_made_for_it(directory):
    import tensorstore

    standard(directory, VARIABLES)
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{directory}/"}).result()
    name = "params.Dense_0.bias/.zarray"
    entry = json.loads(store.read(name).result().value)
    store.write(name, json.dumps(entry | {"chunks": [2**32]}).encode()).result()
    with pytest.raises(
        UserError, match=r"bias is \[3\] in chunks of \[4294967296\]: it is damaged"
    ):
        pretrained.read(directory, like(VARIABLES))


# In a process of its own, because what orbax's threads say after a failure belongs to the question.
DAMAGED = """
import sys
from etils import epath
import jax, numpy as np
from natra_jax.training import pretrained
from natra_jax.types import UserError

like = {"params": {"kernel": jax.ShapeDtypeStruct((50, 50), np.float32)}, "batch_stats": {}}
for path in sys.argv[1:]:
    try:
        pretrained.read(epath.Path(path), like)
        print(path, "was read")
    except UserError as error:
        print(error)
"""


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    whole = tmp_path / "whole"
    standard(whole, {"kernel": RNG.normal(size=(50, 50)).astype(np.float32)})
    damaged = []
    for pattern, length in (("d/*", 0), ("d/*", 40), ("**/manifest.ocdbt", 5), ("_METADATA", 7)):
        damaged.append(tmp_path / f"damaged{len(damaged)}")
        shutil.copytree(whole, damaged[-1])
        paths = list(damaged[-1].glob(pattern))
        assert paths
        for path in paths:
            path.write_bytes(path.read_bytes()[:length])
    run = subprocess.run(
        [sys.executable, "-c", DAMAGED, *map(str, damaged), str(whole)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and run.stderr == "" and lines.pop() == f"{whole} was read", (
        run.stdout + run.stderr
    )
    assert len(lines) == len(damaged)
    for line, path in zip(lines, damaged, strict=True):
        assert line.startswith(f"{path}: the checkpoint cannot be read (") and line.endswith(
            "it is damaged or incomplete"
        )
