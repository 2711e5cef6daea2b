"""Fits that are no classifier's: on one device, resumable, the state after the last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etils import epath

from natra_jax.data.loader import Reading
from natra_jax.stages.context import Context
from natra_jax.training import loop
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.training.parallel import compile_step
from natra_jax.types import Batch


def fit(
    context: Context,
    directory: epath.Path,
    step: Callable,
    constant: Any,
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
    read = {"reading": reading(context), "place": compiled.place}
    with Checkpoints(directory) as checkpoints:
        settings = {"checkpoints": checkpoints, "checkpoint_every": every, "log_every": every, "name": name, "say": context.say}
        return loop.run(compiled, constant, state, batch_at, steps, **settings, **read)[0]


def reading(context: Context) -> Reading:
    """Who reads batches ahead, as config.data has it."""
    return Reading(context.config.data.threads, context.config.data.workers)
