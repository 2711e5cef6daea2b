"""A classifier that computes in bfloat16, in training, on disk and for those who load it."""

import json

import jax
import jax.numpy as jnp
import numpy as np

import natra_jax
from natra_jax.classifiers import build, has_auxiliary
from natra_jax.stages import train
from tests.stages import small

NETWORK = {"widths": (4, 4), "norm": "batch"}
FIELDS = {
    "classifier.factory": "",
    "classifier.dtype": "bfloat16",
    **{f"classifier.{option}": value for option, value in NETWORK.items()},
    "methods": ("advbn",),
    "advbn.group_size": 4,
    "advbn.num_steps": 1,
    "advbn.steps": 2,
}


def test_it_is_fine_tuned_on_perturbed_features_kept_in_float32_and_loaded_again(tmp_path):
    fresh = jax.jit(build("cnn", small.CLASSES, **NETWORK).init)(
        jax.random.key(0), np.zeros((1, *small.SHAPE), np.float32)
    )
    natra_jax.trees.save(tmp_path / "start.npz", fresh)
    c = small.config(train__init_from=str(tmp_path / "start.npz"))
    c.update_from_flattened_dict(FIELDS)
    context = small.context(tmp_path / "work", c)
    train.check(context)
    directory = context.workdir / "train" / "advbn-0"
    directory.mkdir(parents=True)
    train.run(context, directory, "advbn", 0)

    kept = train.load(context, "advbn", 0).variables
    assert has_auxiliary(kept) and {leaf.dtype for leaf in jax.tree.leaves(kept)} == {
        np.dtype("float32")
    }
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    assert np.any(kept["params"]["Dense_0"]["kernel"] != fresh["params"]["Dense_0"]["kernel"])

    images = np.random.default_rng(0).uniform(-1, 1, (4, *small.SHAPE)).astype(np.float32)
    description = json.loads((directory / "classifier.json").read_text())
    assert description["classifier"].pop("dtype") == "bfloat16"
    half = np.asarray(natra_jax.load_classifier(context.workdir, "advbn", 0)(images))
    # as classifier.json was before there was a choice
    (directory / "classifier.json").write_text(json.dumps(description))
    full = np.asarray(natra_jax.load_classifier(context.workdir, "advbn", 0)(images))
    assert half.dtype == full.dtype == jnp.float32
    assert 0 < np.abs(half - full).max() < 0.1 * np.abs(full).max()
