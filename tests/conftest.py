"""Four virtual CPU devices for the tests of parallel training, and quick compilation for programs
that run once; this has to stand in the environment before JAX starts.
"""

import os
import shutil
import tempfile

import pytest
from hypothesis import settings

_FLAGS = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false"
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
os.environ["NPROC"] = "16"  # threads: with fewer, virtual devices can wait for one another for ever
os.environ["JAX_PLATFORMS"] = "cpu"
# Tests that make the same program anew compile it once; one directory for each process, since their
# writing and reading would collide.
_CACHE = tempfile.mkdtemp(prefix="natra_jax_tests_")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

settings.register_profile(
    "untimed", deadline=None
)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """The longest test first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: "test_smoke" not in item.nodeid)


def pytest_unconfigure(config):
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def tasks_declare_what_they_read():
    """Every task that a test runs by the pipeline is held to the config fields that it declares."""
    from tests import recorded

    with pytest.MonkeyPatch.context() as patch:
        recorded.watch(patch)
        yield
