"""Stage generator: the autoencoder, adversarial training behind it, and both continued."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import linen as nn

from natra_jax import trees
from natra_jax.evaluation.records import read_records
from natra_jax.stages import generator
from tests.helpers import linear_generator
from tests.stages import small

SIZE = {
    "generator__resolution": 8,
    "generator__steps": 2,
    "generator__batch_size": 4,
    "directions__layers": (2, 4),
    "advmix__layers": (2, 4),
}
ADVERSARIAL = {"generator__adversarial__steps": 3, "generator__adversarial__batch_size": 4}


class Zeros(nn.Module):
    """A layer in place of a network, without random numbers: they take long to compile."""

    outputs: int

    @nn.compact
    def __call__(self, images):
        layer = nn.Dense(self.outputs, kernel_init=nn.initializers.constant(0.01))
        return layer(images.reshape(len(images), -1))


class Opponent(nn.Module):
    group: int = 0

    @nn.compact
    def __call__(self, images):
        return Zeros(1)(images)[:, 0]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Make the stage's networks linear, so that compiling them takes no time."""
    linear = linear_generator(2, 3, resolution=8, channels=3)
    shape = {"constant": jnp.zeros(192), "layers": jnp.full((2, 3, 192), 0.1)}
    made = replace(linear, init=lambda key: shape)
    monkeypatch.setattr(generator.generators, "build", lambda function, arguments: made)
    monkeypatch.setattr(generator, "Encoder", lambda outputs: Zeros(6))
    monkeypatch.setattr(generator, "Discriminator", Opponent)
    return tmp_path


def run(workdir, **fields):
    """Run the stage in workdir/generator and return (weights by name, records, lines logged)."""
    lines = []
    context = small.context(workdir, small.config(**SIZE | fields))
    context = context._replace(log=lines.append, fingerprints={"generator": "mine"})
    images = np.random.default_rng(1).integers(0, 256, (small.NUM_EXAMPLES, *small.SHAPE), np.uint8)
    np.save(workdir / "data" / "wild_image.npy", images)
    np.save(workdir / "data" / "val_iid_image.npy", images[:4])
    np.save(workdir / "data" / "val_iid_label.npy", np.zeros(4, int))
    directory = epath.Path(workdir) / "generator"
    directory.mkdir(exist_ok=True)
    generator.run(context, directory)
    return trees.read(directory / "params.npz"), read_records(directory / "records.jsonl"), lines


@pytest.mark.slow
def test_adversarial_training_goes_on_from_the_autoencoder_and_is_continued_where_it_was_left(
    workdir,
):
    plain, (error,), lines = run(workdir)
    assert not any("adversarial" in line for line in lines)
    moved, (later,), lines = run(workdir, **ADVERSARIAL)
    # nothing of the autoencoder is trained again
    assert "generator: continuing from step 2" in lines
    assert "generator: adversarial: step 3/3" in "".join(lines)
    assert moved.keys() == plain.keys()
    assert 0 < max(np.abs(moved[name] - plain[name]).max() for name in plain) < 0.05
    for record in (error, later):
        assert (record.metric, record.split, record.n) == ("reconstruction_error", "val_iid", 4)
    assert error.value != later.value

    again, records, lines = run(workdir, **ADVERSARIAL)
    assert "generator: adversarial: continuing from step 3" in lines
    assert records == [later]
    for name in moved:
        np.testing.assert_array_equal(again[name], moved[name])
