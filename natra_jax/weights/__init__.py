"""Checkpoints that others trained, read without PyTorch or TensorFlow.

    from natra_jax import weights

    # .pkl, .pt, .pth, .bin, .npz, .safetensors, a Hugging Face folder
    generator, params = weights.load("ffhq.pkl")
    generator, params = weights.from_state_dict({"main.0.weight": ...})
    codes = generator.draw(params, jax.random.key(0), 4, truncation_psi=0.7)
    images = generator.synthesize(params, codes)  # [4, H, W, C]

`python -m natra_jax.weights FILE DEST` says what a file is and writes it as a directory that
`generator.weights` of an experiment names; FILE itself may stand there too. Nothing that a file
says is run.

The way of a checkpoint's bytes:

    formats/          a file's bytes -> `tensors.Checkpoint`, checked arrays by name
    selection         which of the networks in a checkpoint is meant, by names alone
    families          which generator the names belong to; its converter makes the parameters
    classifiers       the same for networks that classify
    converters/       `tensors.Tensors` -> `tensors.Converted`, one module a family
    converted         generators of ours on disk, as the command writes them
    loading           a path -> a generator, through the above
    generator_config  the generator that an experiment's config names
"""

from natra_jax.weights.families import FAMILIES, Loaded, from_state_dict
from natra_jax.weights.formats.detect import read
from natra_jax.weights.loading import find, load
from natra_jax.weights.tensors import Checkpoint

__all__ = ["FAMILIES", "Checkpoint", "Loaded", "find", "from_state_dict", "load", "read"]
