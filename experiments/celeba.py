"""CelebA: NaTra's Table 1, one attribute at a time.

python -m natra_jax.data import celeba --source=DOWNLOADS --dest=data
python -m natra_jax.main --config=experiments/celeba.py --workdir=runs/celeba

DOWNLOADS holds img_align_celeba.zip, list_attr_celeba.txt, list_eval_partition.txt and
identity_CelebA.txt, which the Chinese University of Hong Kong gives out
(mmlab.ie.cuhk.edu.hk/projects/CelebA.html). weights/stylegan_celeba_partial256.pth is the generator
celeba_partial-256x256 of genforce (github.com/genforce/genforce, MODEL_ZOO.md); another file is
named by --config.generator.weights=FILE.

The task is smiling. The others of the table:

    --config.data.label=Eyeglasses      and Male (gender), Young (age);
                                        'Smiling,Male' tells their four combinations apart
    --config.data.label=identity --config.data.own_splits=False --config.data.min_per_class=30

No person is in two of CelebA's own splits, so those of identities are drawn anew, from the people
with enough images.

CelebA-HQ, as in the paper, is another import, of data256x256.tar, image_list.txt and CelebA's
tables. NVIDIA has its generators. 20 epochs are fewer steps there, and at 1024 pixels
(weights/karras2019stylegan-celebahq-1024x1024.pkl) batches are smaller:

    python -m natra_jax.data import celeba_hq --source=DOWNLOADS --dest=data
    --config.data.name=tfds:celeba_hq --config.train.steps=7557
    --config.generator.weights=weights/stylegan2-celebahq-256x256.pkl
    --config.train.batch_size=8 --config.train.steps=60458 --config.encoder.batch_size=4
    --config.shift.batch_size=4 --config.encode.batch_size=8 --config.eval.batch_size=8

The classifier is VGG-16, with BatchNorm (our choice: it is trained from nothing);
--config.classifier.name=wide_resnet is that of Madry et al. (2018). NaTra eq. 9 and 10 compare
VGG-16's published features, as in the paper, where their file is given, else what a plainly trained
classifier of the task sees:

    --config.encoder.perceptual_weights=vgg16-397923af.pth

Behind the encoder stage shift moves the synthesis network towards the training images (NaTra eq.
10); the paper says not for how long, 5,000 batches are our choice. Directions are found in 10,000
prior samples of w and move the layers of 128 pixels and more, the paper's. random is its N(0, 1) on
the codes, random_box a draw from natra's own set. advmix is AdvMix (Gowal et al. 2020), its
baseline without figures of its own.

Latent codes expansion is w+, a code for each layer, with N = 1: for StyleGAN several codes an image
(--config.encoder.num_codes) cost as many passes through the lower layers at each step of a search.
natra_ol is without: one code for all layers.

The paper's figures, of CelebA-HQ at 1024 pixels, in per cent:

    method     glasses  gender  smiling   age   identity
    original    96.82   90.32    84.16   79.76   75.87
    adv         95.86   91.41    84.28   79.81   75.69
    mixi        95.92   90.35    84.18   79.96   76.12
    mixl        96.91   90.41    84.28   79.81   75.69
    random      97.12   91.56    86.12   81.79   76.16
    natra_ol    97.56   92.29    85.65   79.47   76.21
    natra_oa    97.83   92.35    85.72   79.55   76.41
    natra       98.11   93.10    86.33   80.18   77.02

Estimated, not measured: for one example natra takes 7 steps through StyleGAN (74 GFLOP with the
gradient) and VGG-16 (79), decodes once more (37) and trains on two images (2 x 118), 1.34 TFLOP.
3.26 million examples are 4.4e18 FLOP, 24 hours at 50 TFLOP/s, natra_ol and natra_oa the same. adv
(10 steps, in pixels) takes 19 hours, original, mixi, mixl and random 2 to 6 each, encoders and
judges 9: five days for one seed on one accelerator of 80 GB. On several, training alone is shared.
A WideResNet costs 21 times VGG-16's share. The codes are 4.7 GB on disk, and as much again for
natra_ol.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base

EPOCHS, TRAIN_IMAGES = 20, 162_770


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "celeba"
    config.methods = (
        *("original", "adv", "mixi", "mixl", "random", "random_box", "advmix"),
        *("natra_ol", "natra_oa", "natra"),
    )
    config.obtain.data = (
        "CelebA (aligned and cropped) is had from the Chinese University of Hong Kong, "
        "mmlab.ie.cuhk.edu.hk/projects/CelebA.html: python -m natra_jax.data import celeba "
        "--source=DOWNLOADS --dest=data brings it in place (celeba_hq that of CelebA-HQ)"
    )
    config.obtain.weights = (
        "a StyleGAN of such faces, celeba_partial-256x256, is had from genforce, "
        "github.com/genforce/genforce, MODEL_ZOO.md (those of CelebA-HQ from NVIDIA): save it "
        "there, and python -m natra_jax.weights FILE says whether it can be read"
    )
    config.data.update(name="tfds:celeba", path="data", label="Smiling", threads=4)
    config.generator.weights = "weights/stylegan_celeba_partial256.pth"
    config.encoder.update(widths=(), hidden=512, steps=50_000, batch_size=16, learning_rate=5e-4)
    config.encoder.perceptual = "auto"
    config.shift.update(steps=5_000, batch_size=16)
    config.encode.batch_size = 64
    # in the codes: ten thousand times the features of 256 pixels do not fit in memory
    config.directions.update(codes="prior", space="codes", num_codes=10_000, layers=(10, 0))
    config.advmix.layers = config.directions.layers
    config.natra.num_steps = 7
    config.random.kind = "normal_w"
    config.classifier.update(name="vgg16", dtype="bfloat16")
    config.classifier.vgg16.norm = "batch"
    config.train.update(batch_size=64, learning_rate=5e-4, checkpoint_every=5_000)
    config.train.steps = -(-EPOCHS * TRAIN_IMAGES // config.train.batch_size)  # 50,866
    config.judge.update(seed=1000, steps=10_000)
    config.eval.batch_size = 64
    return config
