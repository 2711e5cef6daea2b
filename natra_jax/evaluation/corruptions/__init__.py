"""The 15 common corruptions of ImageNet-C (Hendrycks & Dietterich 2019), and the mean error.

import numpy as np
from natra_jax.evaluation.corruptions import CORRUPTIONS, corrupt, mean_corruption_error

images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
foggy = corrupt(images, "fog", severity=3, seed=0)                        # uint8 [4, 32, 32, 3]
last = corrupt(images[2:], "fog", severity=3, seed=0, index=[2, 3])       # equals foggy[2:]

conditions = [(name, severity) for name in CORRUPTIONS for severity in range(1, 6)]
errors, baseline = dict.fromkeys(conditions, 0.1), dict.fromkeys(conditions, 0.4)
mean_corruption_error(errors, baseline)                                  # 25.0, per cent

Noise      gaussian_noise, shot_noise, impulse_noise
Blur       defocus_blur, glass_blur, motion_blur, zoom_blur
Weather    snow, frost, fog, brightness
Digital    contrast, elastic_transform, pixelate, jpeg_compression

Images of 64 px and more take ImageNet-C's parameters, smaller ones CIFAR-10-C's; lengths follow the
image's size (`severities`). The names in NOT_COMPARABLE differ in kind from the published
benchmark. The others follow its definitions, without being equal to it bit by bit: other random
streams, values rounded where it cuts them off, and no second JPEG compression of ImageNet-C's
files.
"""

from natra_jax.evaluation.corruptions.apply import CORRUPTIONS, NOT_COMPARABLE, corrupt
from natra_jax.evaluation.corruptions.mean_error import mean_corruption_error

__all__ = ["CORRUPTIONS", "NOT_COMPARABLE", "corrupt", "mean_corruption_error"]
