"""Projected gradient ascent over a Space, as a single `jax.lax.scan` (NaTra eq. 6).

It is the inner maximisation of NaTra, AdvMix, AdvBN and pixel attacks alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Float, Integer, PyTree

from natra_jax.attacks.search import (
    DRAWS,
    Attack,
    AttackResult,
    Candidate,
    LossFn,
    Space,
    better,
    evaluate,
    gradient,
    initial_delta,
    is_numeric,
    over_l1,
    require_count,
    require_flag,
    scaled,
    setup,
    steepest,
    worst_candidate,
)
from natra_jax.printable import shown
from natra_jax.types import Array, Keys

RULES = ("sign", "gradient", "l2")
_LARGEST = float(jnp.finfo(jnp.float32).max)  # beyond it a number becomes infinity in a search
_ONE_SIZE = "None or one number, the same for all examples, or an optax transformation"


@runtime_checkable
class Ascent(Protocol):
    """The part of an optax transformation that `pgd` uses.

    Gradients of -loss come in, updates to add to delta go out.
    """

    def init(self, delta: PyTree, /) -> PyTree: ...
    def update(
        self, gradients: PyTree, state: PyTree, delta: PyTree, /
    ) -> tuple[PyTree, PyTree]: ...


class _Stepper(NamedTuple):
    """The move of one iteration, with a state that is carried from step to step."""

    init: Callable[[PyTree], PyTree]
    """(delta) -> state"""
    step: Callable[[PyTree, PyTree, PyTree, Array], tuple[PyTree, PyTree]]
    """(gradient of the loss, state, delta, epsilon [B // group]) -> (update of delta, state)"""


def pgd(
    num_steps: int,
    step_size: float | Float[Array, ""] | Ascent | None = None,
    *,
    rule: str = "sign",
    random_start: bool = False,
    draw: str = "uniform",
    decay: float | None = None,
) -> Attack:
    """Build projected gradient ascent, delta <- project(delta + step) (NaTra eq. 6).

    The search returns the best iterate, not the last. Equal settings give the same function (of
    the last 128), so that what is jitted with it is not traced anew. A traced step size gives a
    new one.

    Args:
        num_steps: the number of updates; 0 measures the start alone.
        step_size: None for 2.5 * epsilon / num_steps, so that the search can cross the ball of
            every example whatever its radius; a number in the units of delta; or an optax
            transformation, which then also decides the direction.
        rule: 'sign' of the gradient, the raw 'gradient' (eq. 6 as printed), or 'l2' (the gradient
            over its norm per example).
        random_start: begin restart 0 at a random point too, instead of at delta = 0.
        draw: how random points are drawn: 'uniform' in the Space, 'normal' (N(0, 1), projected), or
            'corner' (a random corner of the ball, projected).
        decay: where given, the direction is that of decay * (its last value) + gradient /
            |gradient|_1 (MI-FGSM, Dong et al. 2018).

    Returns:
        The search.

    Raises:
        ValueError: num_steps is not a whole number >= 0; the rule or the draw is unknown; step size
            or decay is negative, not finite or not one number; random_start is neither True nor
            False; rule 'gradient' has no step size; or decay stands beside an optax
            transformation, which has its own.
    """
    require_count("pgd: num_steps", num_steps, 0)
    require_flag("pgd: random_start", random_start)
    if rule not in RULES:
        raise ValueError(f"pgd: rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    if draw not in DRAWS:
        raise ValueError(f"pgd: draw must be one of {', '.join(map(repr, DRAWS))}, got {draw!r}")
    if step_size is None and rule == "gradient":
        raise ValueError("pgd: rule 'gradient' needs a step_size")
    if isinstance(step_size, Ascent):
        if decay is not None:
            raise ValueError(
                f"pgd: decay must be None where step_size is an optax transformation, got {decay}"
            )
        return _pgd(num_steps, random_start, draw, _by_transformation(step_size))
    if decay is not None and not isinstance(decay, Tracer):
        decay = _number("decay", decay, "None or one number")
    if isinstance(step_size, Tracer):  # it has no value by which a function could be found again
        stepper = _by_rule.__wrapped__(num_steps, step_size, rule, decay)
        return _pgd.__wrapped__(num_steps, random_start, draw, stepper)
    size = None if step_size is None else _number("step_size", step_size, _ONE_SIZE)
    return _pgd(num_steps, random_start, draw, _by_rule(num_steps, size, rule, decay))


def _number(name: str, value: float | Float[Array, ""], wanted: str) -> float:
    try:
        number = float(value) if is_numeric(value) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise ValueError(f"pgd: {name} must be {wanted}, got {shown(value)}")
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"pgd: {name} must be >= 0 and finite, got {value}")
    return number


@lru_cache
def _by_rule(
    num_steps: int, step_size: float | Float[Array, ""] | None, rule: str, decay: float | None
) -> _Stepper:
    def init(delta: PyTree) -> PyTree:
        return () if decay is None else jax.tree.map(jnp.zeros_like, delta)

    def step(
        gradients: PyTree, state: PyTree, delta: PyTree, epsilon: Float[Array, " G"]
    ) -> tuple[PyTree, PyTree]:
        if decay is not None:
            gradients = state = jax.tree.map(lambda m, g: decay * m + g, state, over_l1(gradients))
        size = (
            2.5 * epsilon / max(num_steps, 1)
            if step_size is None
            else jnp.full(epsilon.shape, step_size)
        )
        return scaled(size, steepest(rule, gradients)), state

    return _Stepper(init, step)


@lru_cache
def _by_transformation(transformation: Ascent) -> _Stepper:
    def step(
        gradients: PyTree, state: PyTree, delta: PyTree, epsilon: Float[Array, " G"]
    ) -> tuple[PyTree, PyTree]:
        return transformation.update(jax.tree.map(jnp.negative, gradients), state, delta)

    return _Stepper(transformation.init, step)


@lru_cache
def _pgd(num_steps: int, random_start: bool, draw: str, stepper: _Stepper) -> Attack:
    def attack(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        keys, center = setup(keys, space, origin, epsilon, restart)
        delta = initial_delta(
            keys,
            space,
            center,
            epsilon,
            restart=restart,
            random_start=random_start,
            draw=draw,
            start=start,
        )

        def climb(
            carry: tuple[PyTree, PyTree, Candidate], _: None
        ) -> tuple[tuple[PyTree, PyTree, Candidate], Float[Array, " B"]]:
            delta, state, best = carry
            gradients, candidate = gradient(loss_fn, space, center, delta)
            best = better(space.group, best, candidate)
            update, state = stepper.step(gradients, state, delta, epsilon[:: space.group])
            # NaTra eq. 6: ascend, then project
            delta = space.project(jax.tree.map(jnp.add, delta, update), center, epsilon)
            return (delta, state, best), candidate.loss

        first = (delta, stepper.init(delta), worst_candidate(loss_fn, space, center, delta))
        (delta, _, best), losses = jax.lax.scan(climb, first, None, length=num_steps)
        last = evaluate(loss_fn, space, center, delta)
        best = better(space.group, best, last)
        losses = jnp.concatenate([losses, last.loss[None]])
        return AttackResult(center, best.delta, best.inputs, losses, best.success)

    return attack
