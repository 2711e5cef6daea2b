"""natra_jax: adversarial training against natural variation found in a generative model's latent space.

The command line is `python -m natra_jax.main`; `natra_jax.attacks` is the library of attacks for any JAX classifier.
"""

__version__ = "0.1.0"
