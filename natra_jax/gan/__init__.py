"""Train a small generator of one's own: an autoencoder, then adversarially from its decoder on.

The room of those who have images and no checkpoint of a generator. Read in this order:

`networks`: the convolutional `Encoder` and `Discriminator`;
`fit_state`: the state that a fit carries from step to step;
`augmentation`: differentiable augmentation, for few images;
`autoencoder`: the variational autoencoder whose decoder is the generator;
`discriminator`: the adversarial losses, R1, and a warm start;
`adversarial`: one step of generator against discriminator, from the autoencoder on, or from a
pretrained generator;
`distance`: how far samples are from real images.

The stage `natra_jax.stages.generator` runs them. `natra_jax.latents` trains encoders against a
finished generator with the same networks, state and losses.
"""
