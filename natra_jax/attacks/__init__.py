"""Adversarial search over pixels and over the latent codes of a generator.

    import jax
    import jax.numpy as jnp
    from jax.tree_util import Partial
    from natra_jax import attacks

    weights = jnp.array([[1.0, -1.0], [0.5, 2.0], [-1.0, 0.0]])        # any classifier: images [B, 3] -> logits [B, 2]
    images, labels = jnp.array([[0.2, -0.1, 0.4], [0.3, 0.9, -0.2]]), jnp.array([0, 1])

    # One call, for people who have a classifier and nothing else.
    adversarial = attacks.linf_pgd(lambda x: x @ weights, images, labels, epsilon=8 / 255, step_size=2 / 255, num_steps=10,
                                   key=jax.random.key(0), bounds=(-1.0, 1.0))

    # The same search taken apart: a loss, a Space to move in, a radius for each example.
    def loss_fn(weights, labels, inputs):
        logits = inputs @ weights
        return attacks.cross_entropy(logits, labels), attacks.misclassified(logits, labels)

    search = attacks.best_of(attacks.pgd(num_steps=10), restarts=5)
    keys = jax.random.split(jax.random.key(0), len(images))
    result = search(Partial(loss_fn, weights, labels), keys, attacks.linf(), images, jnp.array([8 / 255, 4 / 255]))
    result.inputs, result.loss, result.success                         # [B, 3], [steps + 1, B], [B]

In a generator's code space the Space is `attacks.directions(generator, params, directions)` and the origin is the images' codes.
Bind weights and data with `jax.tree_util.Partial`, as above: then losses and Spaces pass through `jax.jit` as arguments.
"""

from natra_jax.attacks.adaptive import soft_labels, trial_radius, updated_radius
from natra_jax.attacks.pgd import Attack, AttackResult, LossFn, Space, best_of, pgd
from natra_jax.attacks.simple import linf_pgd
from natra_jax.attacks.spaces import directions, linf
from natra_jax.losses import cross_entropy, margin, misclassified

__all__ = [
    "Attack",
    "AttackResult",
    "LossFn",
    "Space",
    "best_of",
    "cross_entropy",
    "directions",
    "linf",
    "linf_pgd",
    "margin",
    "misclassified",
    "pgd",
    "soft_labels",
    "trial_radius",
    "updated_radius",
]
