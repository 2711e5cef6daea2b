"""Checkpoints that others trained, read without PyTorch or TensorFlow and without running anything that a file says.

from natra_jax import weights

generator, params = weights.load("ffhq.pkl")                      # .pkl, .pt, .pth, .bin, .npz, .safetensors, a Hugging Face folder
generator, params = weights.from_state_dict({"main.0.weight": ...})
images = generator.synthesize(params, generator.draw(params, jax.random.key(0), 4, truncation_psi=0.7))

`python -m natra_jax.weights FILE DEST` says what a file is and writes it as a directory that `generator.weights` of an experiment names;
FILE itself may stand there too.
"""

from natra_jax.weights.families import FAMILIES, Loaded, from_state_dict
from natra_jax.weights.formats.detect import read
from natra_jax.weights.loading import find, load
from natra_jax.weights.tensors import Checkpoint

__all__ = ["FAMILIES", "Checkpoint", "Loaded", "find", "from_state_dict", "load", "read"]
