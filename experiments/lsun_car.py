"""LSUN car: cars told from other vehicles, the right column of NaTra's Table 2.

python -m natra_jax.data import lsun --source=DOWNLOADS --dest=data
python -m natra_jax.main --config=experiments/lsun_car.py --workdir=runs/lsun_car

As experiments/lsun_cat.py, with the databases car/, bus/ and motorbike/ (239 GB) and NVIDIA's
stylegan2-car-config-f.pkl. That makes images of 512x384 pixels between black bars, 512x512 in all,
so photos are padded to a square (data.fit). Three images of four are cars. Of 7.2 million examples
the codes are 236 GB on disk, and as much again for natra_ol: fewer are the better start.

    --config.data.max_per_class=200000

By the paper, in per cent: original 90.10, adv 91.05, mixi 89.80, mixl 89.83, random 90.69, natra_ol
91.76, natra_oa 92.14, natra 92.86.

Estimated, not measured: for one example natra takes 7 steps through StyleGAN2 (239 GFLOP with the
gradient) and VGG-16 (317), decodes once more (119) and trains on two images (2 x 475), 5.0 TFLOP;
3.26 million of them 1.6e19 FLOP, 90 hours at 50 TFLOP/s, natra_ol and natra_oa the same; all
methods two and a half weeks for one seed on one accelerator of 80 GB, whose memory half of
lsun_cat's batches fill.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import lsun_cat


def get_config() -> ConfigDict:
    config = lsun_cat.get_config()
    config.name = "lsun_car"
    config.obtain.data = (
        "LSUN's categories, such as car, bus and motorbike, are had from its authors, "
        "www.yf.io/p/lsun: python -m natra_jax.data import lsun --source=DOWNLOADS --dest=data "
        "brings them in place"
    )
    config.obtain.weights = (
        "the StyleGAN2 of LSUN cars is had from NVIDIA, "
        "nvlabs-fi-cdn.nvidia.com/stylegan2/networks/stylegan2-car-config-f.pkl: save it there, "
        "and python -m natra_jax.weights FILE says whether it can be read"
    )
    config.data.update(covers=("car",), fit="pad")
    config.generator.weights = "weights/stylegan2-car-config-f.pkl"
    config.train.update(batch_size=32, steps=2 * config.train.steps)
    config.encoder.batch_size = 8
    config.encode.batch_size = config.eval.batch_size = 32
    return config
