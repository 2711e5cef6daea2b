"""A work directory small enough for tests, with random images of three classes.

Single stages can be run in it without the others.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
from etils import epath
from ml_collections import FrozenConfigDict

from natra_jax import config as experiment
from natra_jax.experiments import smoke
from natra_jax.inputs import Inputs
from natra_jax.stages.context import Context

NUM_EXAMPLES, CLASSES, SHAPE = 12, 3, (8, 8, 3)
OWN = "tests.classifiers.own"


def config(factory: str = "plain", **fields):
    """Return the smoke experiment with a user's classifier and a training of three steps.

    In the names of fields double underscores stand for dots.
    """
    c = smoke.get_config()
    c.methods = ("original", "adv")
    c.classifier.factory = f"{OWN}:{factory}"
    c.train.update(steps=3, batch_size=4, checkpoint_every=3, log_every=3)
    c.adv.num_steps = 1
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


def context(workdir: Path, c) -> Context:
    """Return the context of a work directory with config.json and the files of the stage data."""
    root = epath.Path(workdir)
    (root / "data").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_EXAMPLES, *SHAPE), np.uint8)
    np.save(root / "data" / "train_image.npy", images)
    np.save(root / "data" / "train_label.npy", np.arange(NUM_EXAMPLES) % CLASSES)
    info = {
        "classes": ["a", "b", "c"],
        "image_shape": SHAPE,
        "splits": ["train"],
        "rendered": [],
        "covered": None,
        "unlabelled": 0,
        "counts": {"train": [NUM_EXAMPLES // CLASSES] * CLASSES},
    }
    (root / "data" / "facts.json").write_text(json.dumps(info))
    (root / "config.json").write_text(experiment.to_json(c))
    frozen, devices = FrozenConfigDict(c), jax.devices()[:1]
    fingerprints = defaultdict(lambda: "of a test")
    return Context(frozen, root, workdir, devices, lambda line: None, fingerprints, Inputs())
