"""LSUN cat: cats told from other animals, the left column of NaTra's Table 2.

python -m natra_jax.data import lsun --source=DOWNLOADS --dest=data
python -m natra_jax.main --config=experiments/lsun_cat.py --workdir=runs/lsun_cat

DOWNLOADS holds the databases cat/, cow/ and sheep/, each with its data.mdb, as www.yf.io/p/lsun
gives them out (75 GB); reading them takes pip install 'natra_jax[lsun]'. The generator is NVIDIA's,
stylegan2-cat-config-f.pkl (nvlabs-fi-cdn.nvidia.com/stylegan2/networks/).

The paper does not say what cats are told from. Our choice: from other categories of LSUN, whichever
are imported. The generator makes cats alone (data.covers), so cats are varied and the others
trained on as they are. Two images of three are cats: that much is right without looking. With 2.4
million examples the codes are 68 GB on disk, and as much again for natra_ol; for fewer, drawn by
data.seed:

    --config.data.max_per_class=200000

By the paper, in per cent: original 92.36, adv 92.50, mixi 92.37, mixl 92.33, random 93.25, natra_ol
93.03, natra_oa 93.62, natra 94.15.

Trained for as many updates as 20 epochs of CelebA are, our choice too. Estimated, not measured: for
one example natra takes 7 steps through StyleGAN2 (179 GFLOP with the gradient) and VGG-16 (79),
decodes once more (90) and trains on two images (2 x 118), 2.1 TFLOP; 3.26 million of them 6.9e18
FLOP, 39 hours at 50 TFLOP/s, natra_ol and natra_oa the same; all methods a week for one seed on one
accelerator of 80 GB.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import celeba


def get_config() -> ConfigDict:
    config = celeba.get_config()
    config.name = "lsun_cat"
    config.obtain.data = (
        "LSUN's categories, such as cat, cow and sheep, are had from its authors, "
        "www.yf.io/p/lsun: python -m natra_jax.data import lsun --source=DOWNLOADS --dest=data "
        "brings them in place"
    )
    config.obtain.weights = (
        "the StyleGAN2 of LSUN cats is had from NVIDIA, "
        "nvlabs-fi-cdn.nvidia.com/stylegan2/networks/stylegan2-cat-config-f.pkl: save it there, "
        "and python -m natra_jax.weights FILE says whether it can be read"
    )
    config.data.update(
        name="tfds:lsun", label="", covers=("cat",), validation_share=0.01, test_share=0.02
    )
    config.generator.update(weights="weights/stylegan2-cat-config-f.pkl")
    return config
