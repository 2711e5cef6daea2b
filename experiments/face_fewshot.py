"""People recognised from 100 photos each: NaTra section 4.2, a generator moved to their faces.

python -m natra_jax.main --config=experiments/face_fewshot.py --workdir=runs/faces \\
    --config.data.path=PHOTOS

PHOTOS has a folder for each person, of photos cut to the face in one way, if possible FFHQ's. The
generator is NVIDIA's of FFHQ at 256 pixels, stylegan2-ffhq-256x256.pkl (catalog.ngc.nvidia.com,
research/stylegan2), moved to the photos that are trained on (generator.transfer_from): its
synthesis network is trained on against a fresh discriminator, all of whose images are changed by
differentiable augmentation (Zhao et al. 2020, who transfer it to 100 photos so); the mapping
network stays. The record sliced_wasserstein_after says how near its samples then are to photos that
it has not seen, and the move is undone where they are no nearer than before. Stage shift (NaTra
eq. 10) then moves the synthesis network by reconstruction, and undoes that where unseen photos come
out worse. More photos of faces, of nobody in particular, help the encoder:
--config.data.unlabelled=FOLDER.

Directions are sought in how photos of one person differ (directions.codes=within_classes), so that
they change light, pose and expression and leave the person. Screening, whose judges have as few
photos, tells which do.

By the paper: more than 95 % right from 100 photos a person. It names neither the people nor their
number.

Nothing of this is measured on faces; the transfer is, on colour digits (docs/generators.md).

Estimated, not measured, for ten people, of whom 700 photos are trained on: the transfer takes 4,000
updates of 16 photos (0.3 TFLOP each), 2e16 FLOP; the encoder takes 20,000 iterations of 16 photos
(0.3 TFLOP each), 1.0e17; encoding a photo takes 100 steps of
refinement (0.3 TFLOP each), 1.0e17 for all and their evaluation; natra trains on 64,000 (7 steps
through StyleGAN2, 179 GFLOP with the gradient, and ResNet-18, 9: 1.4 TFLOP each), 9e16. Two hours
at 50 TFLOP/s, on one accelerator of 24 GB.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "face_fewshot"
    config.methods = ("original", "augment", "random", "natra")
    config.obtain.data = (
        "--config.data.path=PHOTOS names a folder of yours with a subfolder of about 100 photos "
        "for each person"
    )
    config.obtain.weights = (
        "the StyleGAN2 of FFHQ at 256 pixels is had from NVIDIA, catalog.ngc.nvidia.com, "
        "research/stylegan2, stylegan2-ffhq-256x256.pkl: save it there, and python -m "
        "natra_jax.weights FILE says whether it can be read"
    )
    config.data.update(name="folder", channels=3)
    config.generator.transfer_from = "weights/stylegan2-ffhq-256x256.pkl"
    # StyleGAN2's own rate and, from its authors' limited-data runs, a strong penalty
    config.generator.transfer.update(
        steps=4_000, learning_rate=2e-3, discriminator_learning_rate=2e-3, r1=10.0, r1_every=16
    )
    config.encoder.update(widths=(), hidden=512, steps=20_000, batch_size=16, learning_rate=5e-4)
    config.shift.update(steps=1_000, batch_size=16)
    config.encode.update(batch_size=16, refine_steps=100)
    config.directions.update(codes="within_classes", space="codes", layers=())
    config.screening.confounded = 1.0  # people differ along whatever one of them varies
    config.advmix.layers = (8, 0)
    config.natra.num_steps = 7
    config.augment.update(crop=16, cutout=64)
    config.classifier.name = "resnet18"
    config.train.update(batch_size=32, steps=2_000, learning_rate=1e-3, checkpoint_every=1_000)
    config.judge.update(seed=1000, steps=2_000)
    config.eval.batch_size = 32
    return config
