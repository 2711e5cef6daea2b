"""The package's front page: its example, the one-call attack, and what importing it costs."""

import subprocess
import sys
import textwrap
from functools import partial
from itertools import takewhile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax import attacks

WEIGHTS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
KEY = jax.random.key(0)


def test_the_example_in_the_docstring_runs_and_keeps_its_promises():
    lines = attacks.__doc__.splitlines()
    indented = takewhile(lambda line: line.startswith("    ") or not line.strip(), lines[1:])
    names = {}
    exec(compile(textwrap.dedent("\n".join(indented)), "example", "exec"), names)
    images, result = np.asarray(names["images"]), names["result"]
    assert np.abs(names["adversarial"]).max() <= 1 and np.abs(result.inputs).max() <= 1
    assert np.abs(names["adversarial"] - images).max() <= 8 / 255 + 1e-6
    assert np.all(np.abs(result.inputs - images).max(axis=1) <= np.array([8 / 255, 4 / 255]) + 1e-6)
    assert (
        result.inputs.shape == images.shape
        and result.loss.shape == (11, 2)
        and result.success.shape == (2,)
    )
    assert np.all(result.loss.max(axis=0) >= result.loss[0])
    # two classes: the optimum is the corner of the ball that the weights point to
    towards_wrong = np.stack(
        [names["weights"][:, 1 - label] - names["weights"][:, label] for label in names["labels"]]
    )
    np.testing.assert_allclose(
        names["adversarial"], np.clip(images + 8 / 255 * np.sign(towards_wrong), -1, 1), atol=1e-6
    )


def test_every_exported_name_exists():
    assert len(set(attacks.__all__)) == len(attacks.__all__)
    for name in attacks.__all__:
        assert hasattr(attacks, name)


def test_importing_the_package_brings_no_heavy_library():
    modules = "{name.partition('.')[0] for name in sys.modules}"
    code = f"import sys, natra_jax.attacks; print(*sorted({modules}))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(answer.stdout.split())
    assert "jax" in imported and "natra_jax" in imported
    heavy = {
        "optax",
        "flax",
        "sklearn",
        "umap",
        "matplotlib",
        "tensorflow_datasets",
        "tensorflow",
        "orbax",
        "pandas",
        "PIL",
    }
    assert not imported & heavy


def random_batch(low, high):
    rng = np.random.default_rng(1)
    return rng.uniform(low, high, (6, 5)).astype(np.float32), rng.integers(0, 3, 6)


def rough_logits(images):
    return jnp.sin(9 * images @ WEIGHTS)


def test_linf_pgd_stays_in_ball_and_bounds_raises_the_loss_and_uses_its_restarts():
    images, labels = random_batch(0.0, 1.0)
    radius = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.8], np.float32)

    @partial(jax.jit, static_argnums=1)
    def attack(epsilon, restarts):
        options = {
            "step_size": None,
            "num_steps": 3,
            "restarts": restarts,
            "random_start": False,
            "key": KEY,
        }
        moved = attacks.linf_pgd(rough_logits, images, labels, epsilon=epsilon, **options)
        return moved, attacks.cross_entropy(rough_logits(moved), labels)

    (clean, before), (once, one), (best, four) = (
        attack(0 * radius, 1),
        attack(radius, 1),
        attack(radius, 4),
    )
    np.testing.assert_array_equal(clean, images)
    for moved in (once, best):
        assert moved.shape == images.shape and moved.dtype == images.dtype
        assert np.all(moved >= 0) and np.all(moved <= 1)
        assert np.all(np.abs(moved - images).max(axis=1) <= radius + 1e-6)
    assert np.all((one > before)[radius > 0])
    assert np.all(four >= one - 1e-5) and np.any(four > one + 1e-3)


def test_linf_pgd_names_the_argument_it_refuses():
    images, labels = random_batch(0.0, 1.0)

    def attack(labels=labels, epsilon=0.1):
        return attacks.linf_pgd(lambda x: x @ WEIGHTS, images, labels, epsilon=epsilon, key=KEY)

    with pytest.raises(ValueError, match=r"labels must be .*\(5,\)"):
        attack(labels=labels[:5])
    with pytest.raises(ValueError, match=r"labels must be .*\(6, 3\)"):
        attack(labels=np.eye(3)[labels])
    with pytest.raises(ValueError, match=r"epsilon must be .*\(5,\)"):
        attack(epsilon=np.full(5, 0.1, np.float32))
    with pytest.raises(ValueError, match="epsilon must be >= 0"):
        attack(epsilon=-0.1)
    with pytest.raises(ValueError, match="epsilon must be >= 0"):
        attack(epsilon=np.array([0.1, 0.1, -0.1, 0.1, 0.1, 0.1], np.float32))
