"""Converters: tensors under a foreign family's names -> the parameters of a network of ours.

Each module of a family has `recognises(names)` and `convert(tensors, config)`. It takes every
tensor once, and compares the checkpoint's own configuration with what the tensors say. This room
knows nothing of files: the arrays come from `formats`, already checked.

In reading order:

    checkpoint_config      a checkpoint's own configuration, whose values may be of any type

    dcgan                  -> generators.dcgan
    progressive            what ProGAN and StyleGAN share: layouts of kernels, growth
    progan                 -> generators.progan
    stylegan1              -> generators.stylegan
    resample_filter        StyleGAN2's filters
    stylegan2_nv           -> generators.stylegan2, from NVIDIA's checkpoints
    stylegan2_rosinality   -> generators.stylegan2, from rosinality's
    biggan_common          what the BigGANs share: spectral norms, shapes, layouts
    biggan                 -> generators.biggan, from the authors' checkpoints
    biggan_deep            -> generators.biggan_deep, from the authors'
    biggan_deep_hf         -> generators.biggan_deep, from Hugging Face's

    batch_norm             PyTorch's BatchNorm as Flax's
    vgg16                  -> classifiers.Vgg16
    resnet                 the walk through a residual network's stages
    resnet18, resnet50     -> classifiers.ResNet, of basic blocks or of bottlenecks
    lpips                  -> the heads of latents.lpips
"""
