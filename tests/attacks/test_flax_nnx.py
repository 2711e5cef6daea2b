"""Flax nnx modules as classifiers: in evaluation mode, and refused in training mode."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.evaluation import predict

IMAGES, LABELS = np.full((3, 2, 2, 1), 0.5, np.float32), np.array([0, 1, 2])


class Net(nnx.Module):
    """Layers that are random, or change, in training."""

    def __init__(self, layer, rngs):
        self.layer = layer
        self.dense = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, images):
        return self.dense(self.layer(images.reshape(len(images), -1)))


LAYERS = {
    "dropout": lambda rngs: nnx.Dropout(0.5, rngs=rngs),
    "batch norm": lambda rngs: nnx.BatchNorm(4, rngs=rngs),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_module_in_training_mode_is_refused_and_in_evaluation_mode_attacked(layer):
    rngs = nnx.Rngs(0)
    net = Net(LAYERS[layer](rngs), rngs)
    bound = Partial(lambda images: net(images))
    net.train()
    with pytest.raises(ValueError, match="^fgsm: logits_fn changes state .* model.eval"):
        attacks.fgsm(net, IMAGES, LABELS)
    with pytest.raises(ValueError, match="^logits_fn changes state of its own"):
        jax.jit(attacks.objective(bound, LABELS))(IMAGES)
    with pytest.raises(ValueError, match="^logits_fn changes state of its own"):
        predict(bound, IMAGES, 3)
    net.eval()
    assert np.isfinite(attacks.fgsm(net, IMAGES, LABELS)).all()
