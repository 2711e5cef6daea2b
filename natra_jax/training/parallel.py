"""Mapping a per-device step over devices: `jit` on one, `pmap` on several, or `shard_map`.

No other file does so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from natra_jax.data import to_float

AXIS = "batch"
MODES = ("auto", "pmap", "shard_map")

# XLA's CPU backend picks slower kernels for small convolutions by default. The name is
# experimental, hence the trial in `cpu_options`.
_FASTER_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def cpu_options() -> dict[str, str] | None:
    """Return compiler options for `jax.jit` that make small convolutions faster on a CPU.

    None where they do not apply.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=_FASTER_CPU)(0.0)
    except Exception:  # this XLA does not know it: the default kernels are as correct, only slower
        return None
    return _FASTER_CPU


class Placed(NamedTuple):
    """A batch that lies on the devices as a compiled step takes it."""

    batch: Any


class Step(NamedTuple):
    """A step compiled for some devices."""

    run: Callable[[Any, Any, Placed], tuple[Any, Any]]
    to_device: Callable[[Any], Placed]
    """(batch) -> the batch, copied to where it is computed: ahead of time, in any thread"""

    def __call__(self, frozen: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        return self.run(
            frozen, state, batch if isinstance(batch, Placed) else self.to_device(batch)
        )


def compile_step(
    make_step: Callable[[str | None], Callable[..., Any]],
    devices: Sequence[Any],
    mode: str = "auto",
) -> Step:
    """Compile a step for the devices.

    `frozen` and `state` are replicated. Every leaf of batch is split along its leading axis, whose
    length the number of devices must divide. The step is given uint8 images as float32 in [-1, 1].
    The state has the same layout in every mode. Its buffers are donated where that is safe (jit).

    Args:
        make_step: (axis_name) -> step, a function (frozen, state, batch) -> (state, metrics).
        devices: to run on.
        mode: one of MODES, for several devices; auto is pmap.

    Returns:
        A function that is called as the step is, with a batch in the host's memory or one that its
        `to_device` has put on the devices.

    Raises:
        ValueError: the mode is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"parallel must be one of {', '.join(MODES)}, got {mode!r}")
    count = len(devices)
    if count == 1:
        jitted = jax.jit(
            _on_floats(make_step(None)), donate_argnums=1, compiler_options=cpu_options()
        )
        # a CPU's memory is the host's, and jit takes NumPy's arrays faster than device_put
        put = _floats if jax.default_backend() == "cpu" else jax.device_put
        return Step(
            lambda frozen, state, placed: jitted(frozen, state, placed.batch),
            lambda batch: Placed(put(batch)),
        )
    step = _on_floats(make_step(AXIS))
    mesh = Mesh(list(devices), (AXIS,), axis_types=(AxisType.Auto,))
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    if mode == "shard_map":
        # check_vma would turn the mean of replicated parameters' gradients into their sum
        mapped = jax.jit(
            jax.shard_map(
                step, mesh=mesh, in_specs=(whole, whole, split), out_specs=whole, check_vma=False
            )
        )
    else:
        mapped = jax.pmap(step, AXIS, in_axes=(None, None, 0), out_axes=None, devices=devices)

    def to_device(batch: Any) -> Placed:
        if mode != "shard_map":
            batch = jax.tree.map(
                lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch
            )
        batch = _floats(batch) if jax.default_backend() == "cpu" else batch
        return Placed(jax.device_put(batch, NamedSharding(mesh, split)))

    def on_all(tree: Any) -> Any:
        """Replicate over the devices what is not yet.

        A state fresh or restored lies on one device, and would be compiled for anew.
        """
        leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
        there = leaves and all(len(leaf.sharding.device_set) == count for leaf in leaves)
        return tree if there else jax.device_put(tree, NamedSharding(mesh, whole))

    latest = _Latest(on_all)

    def run(frozen: Any, state: Any, placed: Placed) -> tuple[Any, Any]:
        state, metrics = mapped(latest(frozen), on_all(state), placed.batch)
        if jax.default_backend() == "cpu":
            # virtual CPU devices share threads and can deadlock when a second step is dispatched
            # before the first has ended
            jax.block_until_ready(metrics)
        return state, metrics

    return Step(run, to_device)


def _on_floats(step: Callable[..., Any]) -> Callable[..., Any]:
    """Let the step take uint8 images, a quarter of the bytes on their way to an accelerator."""
    return lambda frozen, state, batch: step(frozen, state, _floats(batch))


def _floats(batch: Any) -> Any:
    """Convert a batch's uint8 images to float32 in [-1, 1].

    NumPy's arrays are converted by NumPy, whose rounding XLA's is not.
    """
    return jax.tree.map(lambda x: to_float(x) if x.dtype == np.uint8 else x, batch)


class _Latest:
    """A function that remembers its last argument.

    So the frozen part of a training is placed on the devices once, not at every step.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function, self._argument, self._value = function, object(), None

    def __call__(self, argument: Any) -> Any:
        if argument is not self._argument:
            self._argument, self._value = argument, self._function(argument)
        return self._value
