"""The accuracy of a classifier, also under attack, and how sure that is.

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from natra_jax.evaluation import predict, wilson

weights = jnp.array([[-1.0, 1.0]])
brightness = Partial(lambda weights, images: images.mean((1, 2)) @ weights, weights)
images = np.linspace(-1, 1, 7, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1))
right = predict(brightness, images, batch_size=4) == np.array([0, 0, 0, 1, 1, 1, 1])
wilson(int(right.sum()), len(right))  # 95 % interval of the accuracy
"""

from natra_jax.evaluation.benchmark import Attacked, attack, predict, right_on_views
from natra_jax.evaluation.intervals import t_interval, wilson

__all__ = ["Attacked", "attack", "predict", "right_on_views", "t_interval", "wilson"]
