"""Fits that are no classifier's: on one device, resumable, the state after the last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etils import epath

from natra_jax.data.loader import PrefetchOptions
from natra_jax.stages.context import Context
from natra_jax.training import loop
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.training.parallel import compile_step
from natra_jax.types import Batch


def fit(
    context: Context,
    directory: epath.Path,
    step: Callable,
    frozen: Any,
    state: Any,
    batch_at: Callable[[int], Batch],
    steps: int,
    *,
    name: str,
    parts: int = 4,
) -> Any:
    """step(constant, state, batch) -> (state, metrics), `steps` times; `parts` checkpoints in directory and lines said on the way.

    The state's buffers are donated to the first step.
    """
    every = max(1, steps // parts)
    compiled = compile_step(lambda axis: step, context.devices[:1])
    read = {"prefetch_options": prefetch_options(context), "to_device": compiled.to_device}
    with Checkpoints(directory) as checkpoints:
        settings = {
            "checkpoints": checkpoints,
            "checkpoint_every": every,
            "log_every": every,
            "name": name,
            "log": context.log,
        }
        return loop.run(compiled, frozen, state, batch_at, steps, **settings, **read)[0]


def prefetch_options(context: Context) -> PrefetchOptions:
    """Who reads batches ahead, as config.data has it."""
    return PrefetchOptions(context.config.data.threads, context.config.data.workers)
