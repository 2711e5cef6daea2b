"""The README's recipe for a new method works, and so does its attack on another's classifier."""

import importlib
import re
from pathlib import Path

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from natra_jax import classifiers, methods
from natra_jax.training.state import init_state
from natra_jax.training.step import make_step

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(after):
    """Return the Python blocks of the README behind a heading."""
    return re.findall(r"```python\n(.*?)```", README.split(after, 1)[1], re.DOTALL)


def test_one_file_and_one_line_are_a_new_method(tmp_path, monkeypatch):
    file, line = blocks("### Add a method")[:2]
    (tmp_path / "noise.py").write_text(file)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    noise = importlib.import_module("natra_jax.methods.noise")
    (added,) = eval("{" + line + "}", {"noise": noise}).items()
    monkeypatch.setitem(methods.METHODS, *added)

    method = methods.find("noise").build(ConfigDict(), 3, None)
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    batch = {"image": image, "label": np.array([0, 1, 2, 0]), "index": np.arange(4)}

    def build(axis_name):
        return classifiers.build("cnn", 3, axis_name, widths=(8,))

    variation = method.vary(None, jax.random.split(jax.random.key(0), 4), batch, np.zeros(4))
    added_noise = np.asarray(variation.inputs) - image
    assert 0.25 < added_noise.std() < 0.35 and abs(added_noise.mean()) < 0.05
    state = init_state(build(None), optax.sgd(0.1), (8, 8, 3), 4, jax.random.key(0))
    state, metrics = jax.jit(make_step(build, optax.sgd(0.1), None))(method, state, batch)
    assert int(state.step) == 1 and np.isfinite(metrics["loss"])


def test_the_attack_on_a_classifier_that_is_not_ours_runs_and_stays_in_its_ball():
    (script,) = (block for block in blocks("## Attacks for any classifier") if "apgd" in block)
    assert len(script.strip().splitlines()) <= 12
    made = {}
    exec(script.replace("num_steps=50", "num_steps=3"), made)
    moved = np.abs(np.asarray(made["adversarial"]) - np.asarray(made["images"]))
    assert 0.09 < moved.max() <= 0.1 + 1e-6
    assert made["adversarial"].min() >= 0 and made["adversarial"].max() <= 1
