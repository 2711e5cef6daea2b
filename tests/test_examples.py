"""The example at the top of each public package runs as it stands."""

import importlib
import textwrap

import pytest


@pytest.mark.parametrize("name", ["classifiers", "evaluation", "generators", "latents"])
def test_the_example_runs(name):
    lines = importlib.import_module(f"natra_jax.{name}").__doc__.splitlines()
    example = next(
        i for i, line in enumerate(lines) if line.lstrip().startswith(("import ", "from "))
    )
    exec(compile(textwrap.dedent("\n".join(lines[example:])), name, "exec"), {})
