"""A method that is built anew from an equal config is not traced anew."""

import chex
import jax
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from natra_jax import methods
from tests.methods import made
from tests.training import small

OPTIONS = {
    "natra": {"natra__search": "per_direction", "natra__loss": "mixed"},
    "random": {"random__kind": "normal_w"},
    "advmix": {"advmix__source": "other"},
}


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in made.NAMES), *OPTIONS.items()],
    ids=lambda value: value if isinstance(value, str) else ",".join(value.values()) or "default",
)
def test_a_method_built_anew_is_not_traced_anew(name, options):
    chex.clear_trace_counter()
    network, state = small.builder("batch")(None), small.state(optax.sgd(0.1), "batch")
    variables = {"params": state.params, "batch_stats": state.batch_stats}

    def logits_fn(variables, images):
        return network.apply(variables, images, train=False)

    def head_fn(weights, features):
        return features.mean((1, 2)) @ weights

    @jax.jit
    @chex.assert_max_traces(n=1)
    def vary(method, variables, keys, batch, epsilon):
        return method.vary(Partial(logits_fn, variables), keys, batch, epsilon)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def perturb(method, weights, keys, features, targets):
        return method.perturb(Partial(head_fn, weights), keys, features, targets, True)

    keys = jax.random.split(jax.random.key(0), small.BATCH_SIZE)
    for index in (np.arange(8), np.arange(8, 16)):
        method = made.method(name, **options)
        method = methods.restrict_to_classes(method, [0, 2], small.NUM_CLASSES)
        if method.vary is not None:
            batch = made.batch(index, method.partners)
            vary.trace(method, variables, keys, batch, np.zeros(8, np.float32))
        if method.perturb is not None:
            features = np.ones((8, 2, 2, 5), np.float32)
            weights = np.ones((5, small.NUM_CLASSES), np.float32)
            targets = np.eye(small.NUM_CLASSES, dtype=np.float32)[[0, 1, 2, 3] * 2]
            perturb.trace(method, weights, keys, features, targets)
