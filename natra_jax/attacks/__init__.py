"""Adversarial search over pixels, a generator's latent codes, and a classifier's features.

    import jax
    import jax.numpy as jnp
    from jax.tree_util import Partial
    from natra_jax import attacks

    # Any classifier: images [B, 3] -> logits [B, 2].
    weights = jnp.array([[1.0, -1.0], [0.5, 2.0], [-1.0, 0.0]])
    logits_fn = Partial(lambda weights, images: images @ weights, weights)
    images, labels = jnp.array([[0.2, -0.1, 0.4], [0.3, 0.9, -0.2]]), jnp.array([0, 1])

    # One call, for people who have a classifier and nothing else; also fgsm, mim, l2_pgd and apgd.
    adversarial = attacks.linf_pgd(
        logits_fn, images, labels, epsilon=8 / 255, step_size=2 / 255, num_steps=10,
        key=jax.random.key(0), bounds=(-1.0, 1.0),
    )

    # The same search taken apart: a loss, a Space, a radius for each example, a search.
    search = attacks.best_of(attacks.pgd(num_steps=10), restarts=5)
    keys = jax.random.split(jax.random.key(0), len(images))
    loss_fn = attacks.objective(logits_fn, labels, loss="margin")
    result = search(loss_fn, keys, attacks.linf(), images, jnp.array([8 / 255, 4 / 255]))
    result.inputs, result.loss, result.success      # [B, 3], [steps + 1, B], [B]

Spaces      linf, l2         pixels
            directions       NaTra (eq. 2, 12): a generator's code space; origin: the images' codes
            mixing           AdvMix: style layers of other codes
            feature_stats    AdvBN: means and spreads of a classifier's features
Searches    pgd (NaTra eq. 6), auto_pgd (Croce & Hein 2020), random_search
            best_of          restarts
            per_direction    one direction at a time (NaTra eq. 4); along is the Space of one
One call    fgsm, mim, linf_pgd, l2_pgd, apgd
Radii       trial_radius, updated_radius (NaTra eq. 13), soft_labels

Classifiers of one logit, [B] or [B, 1], become ones of two classes by binary(logits_fn).

Any search works in any Space. A loss of your own is a function inputs -> (loss [B], success [B]).
Bind weights and data with `jax.tree_util.Partial`, as above: then losses and Spaces pass through
`jax.jit` as arguments. Searches and Spaces built twice from equal settings are not traced twice.
"""

from natra_jax.attacks.adaptive import soft_labels, trial_radius, updated_radius
from natra_jax.attacks.auto_pgd import auto_pgd
from natra_jax.attacks.combine import along, best_of, per_direction, random_search
from natra_jax.attacks.objective import binary, objective
from natra_jax.attacks.one_call import apgd, fgsm, l2_pgd, linf_pgd, mim
from natra_jax.attacks.pgd import pgd
from natra_jax.attacks.search import Attack, AttackResult, LossFn, Space
from natra_jax.attacks.spaces import directions, feature_stats, l2, linf, mixing, residual
from natra_jax.losses import cross_entropy, dlr, margin, misclassified

__all__ = [
    "Attack",
    "AttackResult",
    "LossFn",
    "Space",
    "along",
    "apgd",
    "auto_pgd",
    "best_of",
    "binary",
    "cross_entropy",
    "directions",
    "dlr",
    "feature_stats",
    "fgsm",
    "l2",
    "l2_pgd",
    "linf",
    "linf_pgd",
    "margin",
    "mim",
    "misclassified",
    "mixing",
    "objective",
    "per_direction",
    "pgd",
    "random_search",
    "residual",
    "soft_labels",
    "trial_radius",
    "updated_radius",
]
