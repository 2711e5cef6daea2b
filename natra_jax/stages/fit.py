"""The fit of generator, encoder and shift: on one device, with checkpoints that it resumes from."""

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
    """Run a step `steps` times, or as often as a checkpoint has left.

    Args:
      context: the run.
      directory: where checkpoints are kept.
      step: (frozen, state, batch) -> (state, metrics).
      frozen: what the step reads and does not change.
      state: the first one; its buffers are donated to the first step.
      batch_at: (step) -> its batch.
      steps: their number.
      name: of the fit, in the lines of progress.
      parts: the number of checkpoints, and of lines, on the way.

    Returns:
      The state after the last step.
    """
    every = max(1, steps // parts)
    compiled = compile_step(lambda axis: step, context.devices[:1])
    with Checkpoints(directory) as checkpoints:
        fitted, _ = loop.run(
            compiled,
            frozen,
            state,
            batch_at,
            steps,
            checkpoints=checkpoints,
            checkpoint_every=every,
            log_every=every,
            name=name,
            log=context.log,
            prefetch_options=prefetch_options(context),
            to_device=compiled.to_device,
        )
        return fitted


def prefetch_options(context: Context) -> PrefetchOptions:
    """Return the threads and processes that read batches ahead, as config.data has them."""
    return PrefetchOptions(context.config.data.threads, context.config.data.workers)
