"""Every field of an experiment, its default and its unit. Experiments start from these and change what differs.

Not an experiment of its own: data.name and layer numbers depend on what is trained on what.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",  # of the experiment; a work directory belongs to one name
            "seeds": (0,),  # one training of every method for each
            "methods": ("original", "random", "natra"),  # of natra_jax.methods.METHODS
            "parallel": "auto",  # auto | pmap | shard_map: how several devices are used
            "obtain": {  # said where something is not there: from whom it is had, and the command that brings it in place
                "data": "",
                "weights": "",  # of the generator
                "classifier": "",  # the weights in train.init_from
            },
            "data": {
                "name": "digits",  # digits | folder | tfds:NAME | arrays, which are handed over in Python
                "path": "",  # of folder: the folder of classes; of tfds: the directory that the prepared data set NAME is in
                "label": "",  # of tfds: the feature that is the label, or attributes 'a,b'; '' the data set's own
                "resolution": 0,  # pixels that photos are scaled to; 0: the generator's, else what suits their number
                "channels": 0,  # 3: RGB | 1: grey; 0: grey where all images are and the generator is trained on them
                "fit": "crop",  # crop | pad | stretch: how what is not square becomes so
                "own_splits": True,  # False: splits are drawn anew from all that the data set has
                "validation_share": 0.1,  # of each class, where there is no such split
                "test_share": 0.2,
                "min_per_class": 0,  # images to train on; classes of fewer are left out, 0 takes one without any for a mistake
                "max_per_class": 0,  # images of a split, drawn by seed, where there are more; 0: all
                "held_out": 1000,  # images of val_iid that generator, encoder and shift are measured on, drawn by data.seed; 0: all
                "unlabelled": "",  # folder of images without labels, or of tfds another split: generator and classifiers see them too
                "covers": (),  # names of the classes whose images the generator makes; () all: others are trained on as they are
                "decoded_gigabytes": 2.0,  # of a split, up to which images are kept decoded; larger ones are decoded when they are read
                "threads": 2,  # that read ahead while a step is computed
                "workers": 0,  # processes that do so instead
                "seed": 0,  # of the split and of what the source draws
                "renderings": 16,  # of digits: true variations rendered for each held-out example (metric worst16)
                "wild_per_image": 32,  # of digits: images of the generator's domain made from each training example
            },
            "generator": {
                "weights": "",  # '' trains one from nothing | package:NAME, that come with natra_jax | a checkpoint's file or directory
                # of the checkpoint, of natra_jax.weights.FAMILIES; what is trained here is a style_small | none: no generator, for methods
                # that need none
                "family": "auto",
                "truncation": 0.0,  # of a BigGAN's prior and statistics; 0: as its checkpoint has it
                "dtype": "float32",  # float32 | bfloat16 | float16: of a StyleGAN2's blocks of high resolution
                "resolution": 0,  # pixels, of what is trained here, as all that follows; 0: the data's
                "channels_out": 0,  # of its images, 3 or 1; 0: the data's
                "seed": 0,
                "code_dim": 64,  # D
                "base_channels": 32,  # at full resolution; doubled at each lower one
                "max_channels": 64,
                "steps": 4000,  # of training from nothing
                "batch_size": 64,  # images
                "learning_rate": 3e-3,  # AdamW, warmed up over 1/15 of the steps, then a cosine to 0
                "weight_decay": 1e-4,
                "kl_weight": 0.2,  # against the sum of squared pixel errors
                "augment": (),  # of natra_jax.gan.augmentation.KINDS: the images of the autoencoder are changed so
                "adversarial": {  # training that goes on from the autoencoder's decoder, against a discriminator
                    "steps": 0,  # of each network; 0 keeps the autoencoder's decoder as it is
                    "batch_size": 32,  # real images and as many generated ones
                    "learning_rate": 1e-3,  # of the generator: Adam without momentum, warmed up over 1/15 of the steps, then a cosine to 0
                    "discriminator_learning_rate": 2e-3,  # likewise
                    "group": 0,  # images whose spread the discriminator is shown (minibatch standard deviation); 0 for none
                    "r1": 1.0,  # weight of the gradient penalty on real images; 0 leaves it out
                    "r1_every": 4,  # steps between two penalties, each weighed so many times
                    "ema": 0.999,  # decay a step of the averaged weights that are kept
                    "augment": (
                        "translation",
                    ),  # of natra_jax.gan.augmentation.KINDS: what the discriminator sees is changed so
                    "reconstruction": 0.2,  # weight of the autoencoder's loss, which goes on being trained; 0 leaves it out
                },
            },
            "encoder": {
                "seed": 0,  # of its training
                "codes": "w+",  # w: one code an image; w+: one a layer (latent codes expansion with N = 1)
                "widths": (
                    32,
                    64,
                    128,
                ),  # channels of its convolutions, the image halved between two; () so many that 4x4 pixels are left
                "hidden": 128,  # units of its dense layer
                "num_codes": 1,  # N codes an image, whose feature maps are summed (latent codes expansion)
                "expand_at": 1,  # l, the layer after which they are summed, for num_codes above 1
                "domain": "marginal",  # marginal | target | both: the real images of eq. 9, of the generator's domain or of the train split
                "steps": 1000,  # iterations, of two updates each (eq. 8 and eq. 9)
                "batch_size": 64,  # real images and as many generated ones
                "learning_rate": 2e-3,
                "weight_decay": 1e-4,
                "gamma1": 1.0,  # weight of the pixel error (eq. 9)
                "gamma2": 0.03,  # weight of the perceptual error (eq. 9); 0 leaves it out
                "gamma_codes": 0.1,  # weight of eq. 8
                "gamma_adversarial": 0.0,  # weight of a discriminator that is trained beside; 0 leaves it out
                "pixel_loss": "l2",  # l2 as eq. 9 prints | l1 as its text says
                "perceptual": "classifier",  # whose features: a plain classifier's, trained on the task for train.steps | vgg16's
                "perceptual_weights": "",  # of vgg16: a file with torchvision's weights, IMAGENET1K_V1
            },
            "shift": {
                "steps": 0,  # of moving the synthesis network towards the train split (eq. 10); 0 leaves it as it is
                "domain": "target",  # as encoder.domain
                "batch_size": 64,
                "learning_rate": 3e-4,  # AdamW without decay, warmed up over 1/15 of the steps, then a cosine to 0
                "seed": 0,  # of the order of its batches
            },
            "encode": {
                "batch_size": 500,  # images
                "refine_steps": 0,  # of Adam on each image's codes, from the encoder's answer
                "refine_learning_rate": 0.02,
                "gamma_domain": 0.1,  # weight of |codes - enc(g(codes))|^2, which keeps refined codes where the encoder knows them
            },
            "directions": {
                "method": "umap",  # umap | pca | sefa
                "space": "activations",  # activations | codes: where the reduction looks
                # encoded: codes of images of the generator's domain | prior: of prior samples | within_classes: of the train split less the
                # mean of their class, so that what varies does so at one label
                "codes": "encoded",
                "num_codes": 5000,  # K, sampled codes
                "dim": 16,  # d, coordinates of the reduction
                "neighbors": 15,  # UMAP's n_neighbors
                "regression": "principal",  # principal | whitened | per_coordinate: how eq. 11 is fitted and read
                "num": 8,  # directions kept, of the largest spread
                # (first, last + 1): layers whose codes move; (first, 0): to the last; (): all; or several ranges, num in each
                "layers": (0, 1),
                "at": 0,  # the layer whose activations are seen; 0: the last that moves; 1 for generators without w
                "truncation_psi": 1.0,  # of the prior's codes
                "seed": 0,  # of UMAP and of the sampling
            },
            "screening": {
                "judge": "cross_fitted",  # none | cross_fitted | a file or directory of classifier weights | package.module:function
                "folds": 2,  # of cross-fitting: each judge is trained on all but one
                "examples": 500,  # train images that are moved
                "multiples": (
                    1.0,
                    2.0,
                    3.0,
                    4.0,
                ),  # of sigma; a direction that loses answers at the first is not proposed
                "keep": 0.95,  # share of answers that a useful range and the chosen set keep
                "confounded": 0.1,  # a direction that predicts labels better than this (0 chance, 1 without error) is left to the user
                "choose": "",  # '' those that keep answers and are not confounded | names or numbers 'a,b' | a file as directions.json
                "seed": 0,  # of folds, examples and random moves
            },
            "natra": {
                "num_steps": 5,  # K of eq. 6
                "restarts": 1,  # N_r
                "random_start": True,  # of the first restart; False starts at the encoded point
                "norm": "linf",  # linf | l2: the ball
                "units": "sigma",  # sigma | raw: of r, rho and epsilon
                "rho": 0.3,  # growth of an example's radius at each visit it withstands, in units
                "epsilon_max": 2.0,  # cap of the radius, in units
                "smoothing": 0.15,  # c of label smoothing, per unit of radius
                "truncation": 2.0,  # sigmas around the population's mean that no example is moved beyond
                "search": "joint",  # joint: all directions at once | per_direction: one search for each, the worst of all kept (eq. 4)
                "loss": "ce",  # ce: cross entropy to the soft labels | mixed: CAT's, with the margin to the label added
                "kappa": 10.0,  # of the mixed loss: margins (of logits) below -kappa count as -kappa
            },
            "natra_oa": {
                "epsilon": 2.0,  # the fixed radius, in natra.units
            },
            "random": {
                "kind": "box",  # box: uniform in natra's largest set | normal_w: N(0, 1) added to every code, as the paper words it
            },
            "mixup": {
                "alpha": 0.2,  # lambda ~ Beta(alpha, alpha), for mixi and mixl
            },
            "advmix": {
                "layers": (
                    0,
                    1,
                ),  # (first, last + 1): these layers' codes are replaced, by randmix as well
                "source": "prior",  # prior: by a fresh code of the generator's | other: by another training example's
                "epsilon": 0.03,  # radius around them, in the generator's own code units
                "num_steps": 5,  # K
                "restarts": 5,  # N_r, each with replacements of its own
            },
            "augment": {
                "crop": 4,  # pixels of reflected border that the image is cut from
                "flip": True,  # left to right, with probability 1/2
                "brightness": 0.4,  # factor uniform in 1 - 0.4 .. 1 + 0.4
                "contrast": 0.4,
                "saturation": 0.4,
                "hue": 0.1,  # turns, uniform within this on both sides
                "cutout": 8,  # side of the grey square, pixels; 0 for none
            },
            "advbn": {
                "group_size": 64,  # neighbouring examples that share m and s; has to divide a device's share of the batch
                "num_steps": 6,
                "step_size": 0.2,
                "epsilon": 1.1,  # m and s stay within 1 - epsilon .. 1 + epsilon
                "steps": 300,  # of fine-tuning; the learning rate is a tenth after half of them
                "learning_rate": 1e-3,  # SGD
                "momentum": 0.9,
                "weight_decay": 1e-4,
            },
            "adv": {
                "epsilon": 16 / 255,  # of the range [-1, 1]: 8/255 of [0, 1]
                "step_size": 4 / 255,
                "num_steps": 10,
            },
            "classifier": {
                "name": "cnn",  # of natra_jax.classifiers.CLASSIFIERS
                "dtype": "float32",  # float32 | bfloat16: of all that is computed before the last layer; weights stay float32
                "widths": (16, 32, 48),  # of cnn: channels of its stages
                "norm": "group",  # of cnn: group | batch
                "vgg16": {
                    "widths": (64, 128, 256, 512, 512),  # channels of its blocks
                    "dense": (
                        4096,
                        4096,
                    ),  # units of its hidden dense layers; () for none, behind the mean over space
                    "norm": "none",  # none | batch
                },
                "resnet18": {
                    "widths": (64, 128, 256, 512),  # channels of its stages
                    "blocks": (2, 2, 2, 2),  # residual blocks of its stages
                },
                "resnet50": {
                    "widths": (64, 128, 256, 512),  # channels within the bottlenecks of its stages
                    "blocks": (3, 4, 6, 3),  # bottlenecks of its stages
                },
                "wide_resnet": {  # of Madry et al. (2018)
                    "depth": 32,  # layers, 6 n + 2
                    "width": 10,  # times 16, 32 and 64 channels of its stages
                    "norm": "batch",  # batch | group
                },
                "factory": "",  # package:function, a classifier of your own in place of name and what describes it
            },
            "train": {
                # '' fresh weights | a method's name: its classifier of the same seed | a directory or .npz to fine-tune | for vgg16,
                # resnet18 and resnet50 torchvision's file
                "init_from": "",
                "steps": 600,  # updates; 0 leaves the weights of init_from as they are, where there is no generator
                "batch_size": 64,  # clean examples; a method's variations come on top
                "learning_rate": 3e-3,  # AdamW, warmed up over 1/15 of the steps, then a cosine to 0
                "weight_decay": 1e-4,
                "clean_ratio": 0.5,  # weight of the clean images' loss; the variations' has the rest
                "failures_only": False,  # True: only variations that the classifier gets wrong count (eq. 7); not for mixi and mixl
                "pseudo_confidence": 0.9,  # at which an image without a label counts, by the label that the classifier gives it
                "checkpoint_every": 200,  # steps
                "log_every": 100,  # steps
            },
            "judge": {
                "seed": 0,  # of its training
                "steps": 600,  # of training the independent judge of labels, for evaluation only
            },
            "eval": {
                "batch_size": 500,  # images
                "extra_splits": (),  # 'name=folder' of images of the same classes, at any depth: measured as split test_name
                "examples": 1000,  # of a split that attacks and corruptions are measured on, drawn by data.seed; 0: all
                "latent_steps": 20,  # of the latent attack behind latent_accuracy
                "latent_restarts": 1,
                "latent_epsilon": 2.0,  # its radius, in natra.units
                "thorough": False,  # True: also the worst of several attacks, in the latent space and in pixels, and corruptions
                "worst_steps": 50,  # of each gradient attack behind the thorough figures
                "worst_restarts": 5,
                "worst_samples": 500,  # of their random search
                "pixel_epsilon": 16
                / 255,  # radius of the thorough attack in pixels, of the range [-1, 1]: 8/255 of [0, 1]
            },
            "export": {
                "method": "",  # of methods: whose failures the stage export writes out (eq. 7), with the first seed; '' the baseline
                "failures_only": True,  # False: every variation that the search returns
                "epsilon": 2.0,  # radius of the search, in natra.units
            },
            "report": {
                "examples": 8,  # images of each kind shown
            },
        }
    )
