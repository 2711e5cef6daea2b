"""Scripts about this repository; natra_jax itself needs none of them."""
