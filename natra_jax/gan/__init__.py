"""Training a small generator of one's own: an autoencoder, then a discriminator against its decoder."""
