"""AdvBN on ImageNet: torchvision's ResNet-50 fine-tuned on the worst statistics of its features.

python -m natra_jax.main --config=experiments/imagenet_advbn.py --workdir=runs/imagenet \\
    --config.data.path=IMAGENET

No generator takes part. IMAGENET holds train/ and test/, each with a folder of photos for each
class (n01440764, ...). test is what its authors (image-net.org) call validation: links to their
folders will do. 1 % of train is kept out of training. The network is torchvision's first,
resnet50-0676ba61.pth, where this leaves it:

    python -c "import torchvision; torchvision.models.resnet50(weights='IMAGENET1K_V1')"

original is that network as it is, without any training (train.steps=0). advbn fine-tunes what is
behind the first stage for 20 epochs, as its authors do. They train on crops of random size and
proportions (8 % of the photo and more, scaled to 224 pixels) and mirror images; augment+advbn here
on crops of one size, shifted by up to 32 pixels, and mirror images, beside the photos as they are.
Each is evaluated with its clean BatchNorm, and with the adversarial one as NAME/adversarial.

Tests elsewhere, each a folder in which folders named by the same classes lie at any depth (of
ImageNet-C: corruption, severity, class):

    "--config.eval.extra_splits=('sketch=SKETCH','stylized=STYLIZED','instagram=INSTAGRAM','c=IMAGENET_C')"

By AdvBN's README, standard and AdvBN: ImageNet 76.1 and 77.0 %, ImageNet-C (mCE, lower is better)
76.7 and 72.7, Instagram 67.2 and 69.5, Sketch 24.1 and 27.9, Stylized 7.4 and 11.9. Accuracy on
ImageNet-C is not mCE, which weighs corruptions by AlexNet's errors. Photos are cut to their middle
square, theirs to 224 of 256 pixels in the middle.

Estimated, not measured: for one photo advbn takes 6 steps through the stages behind the first (13
GFLOP with the gradient) and trains these twice (2 x 20), 0.12 TFLOP; 25.6 million of them 3.1e18
FLOP, 17 hours at 50 TFLOP/s, augment+advbn 21; on one accelerator of 80 GB, or several. Decoding
25.6 million photos takes about 20 core hours.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base

EPOCHS, TRAIN_IMAGES = 20, 1_281_167


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "imagenet_advbn"
    config.methods = ("original", "advbn", "augment+advbn")
    config.obtain.data = (
        "ImageNet (ILSVRC 2012) is had from its authors, image-net.org: "
        "--config.data.path=IMAGENET names a folder with train/WNID/*.JPEG and test/WNID/*.JPEG, "
        "the latter what they call validation"
    )
    config.obtain.classifier = (
        'ResNet-50 (IMAGENET1K_V1) is had from torchvision: python -c "import torchvision; '
        "torchvision.models.resnet50(weights='IMAGENET1K_V1')\" leaves it there"
    )
    config.data.update(name="folder", resolution=224, channels=3, validation_share=0.01, threads=16)
    config.generator.family = "none"
    config.classifier.update(name="resnet50", dtype="bfloat16")
    config.train.update(
        init_from="~/.cache/torch/hub/checkpoints/resnet50-0676ba61.pth",
        steps=0,
        batch_size=256,
        checkpoint_every=5_000,
    )
    config.advbn.steps = -(-EPOCHS * TRAIN_IMAGES // config.train.batch_size)  # 100,092
    # crops and mirror images alone
    config.augment.update(
        crop=32, flip=True, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, cutout=0
    )
    config.judge.seed = 1000
    config.eval.batch_size = 256
    return config
