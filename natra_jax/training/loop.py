"""The loop around a step: data in, metrics out, checkpoints on the way.

Classifiers, encoders and generators share it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import jax

from natra_jax import interruption
from natra_jax.data.loader import PrefetchOptions, prefetch
from natra_jax.training.checkpoint import Checkpoints, History
from natra_jax.types import Batch, UserError


def run(
    step_fn: Callable[[Any, Any, Batch], tuple[Any, dict[str, jax.Array]]],
    frozen: Any,
    state: Any,
    batch_at: Callable[[int], Batch],
    num_steps: int,
    *,
    checkpoints: Checkpoints,
    checkpoint_every: int,
    log_every: int,
    name: str,
    log: Callable[[str], None],
    prefetch_options: PrefetchOptions = PrefetchOptions(),  # noqa: B008, it is a tuple
    to_device: Callable[[Batch], Any] | None = None,
) -> tuple[Any, History]:
    """Step until state.step == num_steps, from the newest checkpoint if there is one.

    Args:
        step_fn: (frozen, state, batch) -> (state, metrics).
        frozen: what training does not change.
        state: the state to begin with; its `step` counts the updates.
        batch_at: step -> batch.
        num_steps: the last step.
        checkpoints: where states are saved. The last state is always saved.
        checkpoint_every: steps between checkpoints.
        log_every: steps between entries of the history, which are shown as well.
        name: introduces the log's lines.
        log: takes them.
        prefetch_options: who calls batch_at ahead of the step that takes the batch. It changes no
            number.
        to_device: moves a batch to the devices ahead of time. It changes no number.

    Returns:
        The last state and the history.

    Raises:
        UserError: a metric is not finite where it is logged, or where a state is saved.
        Interrupted: the process has been asked to end. The state is saved before.
    """
    from tqdm import tqdm

    history: History = []
    if (restored := checkpoints.restore(state, log)) is not None:
        state, history = restored
        log(f"{name}: continuing from step {int(state.step)}")
    start = int(state.step)
    terminal = sys.stderr.isatty()
    with (
        prefetch(
            batch_at,
            start,
            num_steps,
            threads=prefetch_options.threads,
            workers=prefetch_options.workers,
            to_device=to_device,
        ) as reader,
        tqdm(total=num_steps, initial=start, desc=name, disable=not terminal, leave=False) as bar,
    ):
        for step, batch in enumerate(reader, start):
            state, metrics = step_fn(frozen, state, batch)
            done = step + 1
            logs = done % log_every == 0 or done == num_steps
            stops = interruption.requested()
            saves = done % checkpoint_every == 0 or done == num_steps or stops
            if logs or saves:
                values = {key: float(value) for key, value in metrics.items()}
                if not all(map(math.isfinite, values.values())):
                    raise UserError(
                        f"{name}: not a finite number at step {done}: {values}: training diverged; "
                        "lower its learning rate"
                    )
            if logs:
                history.append({"step": done, **values})
                bar.set_postfix({key: f"{value:.3g}" for key, value in values.items()})
                if not terminal:
                    log(
                        f"{name}: step {done}/{num_steps}  "
                        + "  ".join(f"{key} {value:.4g}" for key, value in values.items())
                    )
            if saves:
                checkpoints.save(done, state, history)
            if stops:
                interruption.check()
            bar.update()
    return state, history
