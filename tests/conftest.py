"""Four virtual CPU devices for the tests of parallel training; this has to stand in the environment before JAX starts."""

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4".strip()
os.environ["NPROC"] = "16"  # threads: with fewer, virtual devices can wait for one another for ever
os.environ["JAX_PLATFORMS"] = "cpu"
