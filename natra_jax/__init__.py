"""Adversarial training against natural variation found in a generative model's latent space.

The command line is `python -m natra_jax.main`, or `natra`. `natra_jax.attacks` is the library of
attacks for any JAX classifier, and `natra_jax.load_classifier(workdir, method, seed)` the
classifier that a run trained.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from natra_jax.stages.load_classifier import load_classifier

__all__ = ["load_classifier"]
__version__ = "0.1.0"  # setup.py reads it from here


def __getattr__(name: str) -> Any:
    """Import what is public here when it is first asked for.

    `import natra_jax.attacks` passes through this file, and shall stay quick.
    """
    if name == "load_classifier":
        from natra_jax.stages.load_classifier import load_classifier

        return load_classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
