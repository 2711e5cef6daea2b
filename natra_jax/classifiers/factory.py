"""Classifiers of the user's own, that the config field classifier.factory names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from natra_jax.printable import reason
from natra_jax.types import UserError

_TRAINS = ("train", "training", "is_training")  # names of the flag that is train here,
_EVALUATES = ("deterministic", "use_running_average")  # and of its opposite


# the same object every time: jit traces anew for another
@cache
def from_factory(path: str, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Make the classifier of the named function, called as module.apply(variables, images, train=).

    The function is called with the keyword num_classes, and axis_name (the device axis over which
    BatchNorm averages) where it has an argument of that name. It returns a Flax linen module, whose
    flag for training may be called train, training, is_training, deterministic,
    use_running_average, or be missing; or two plain functions (init, apply): init(key, images) ->
    params, any pytree, and apply(params, images) -> logits. A module's variables keep their names;
    a pair's params are the one parameter 'weights'.

    Raises UserError if there is no such function, if it fails, or if it returns anything else.
    """
    function = find(path)
    arguments: dict[str, Any] = {"num_classes": num_classes}
    try:
        if "axis_name" in inspect.signature(function).parameters:
            arguments["axis_name"] = axis_name
        made = function(**arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise UserError(
            f"config field classifier.factory is {path!r}: calling it with {given} failed "
            f"({_line(error)})"
        ) from error
    if (
        isinstance(made, tuple | list)
        and len(made) == 2
        and all(callable(f) and not isinstance(f, nn.Module) for f in made)
    ):
        return _Plain(*made)
    if isinstance(made, nn.Module):
        return _with_train_flag(made, path)
    raise UserError(
        f"config field classifier.factory is {path!r}: it returned {type(made).__name__}, "
        "expected a Flax linen module or a pair of functions (init, apply)"
    )


def source_file(path: str) -> str | None:
    """Return the file of the module in 'package.module:function'; None where there is none."""
    try:
        spec = importlib.util.find_spec(path.partition(":")[0])
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def find(path: str, field: str = "config field classifier.factory") -> Callable[..., Any]:
    """Import the function that 'package.module:function' names.

    Raises UserError, naming the field in which the path stands, if there is none.
    """
    module_name, _, name = path.partition(":")
    try:
        found = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the user's module may raise anything when it is imported
        raise UserError(
            f"{field} is {path!r}: it cannot be imported ({_line(error)}): "
            "it must name an importable 'package.module:function'"
        ) from error
    if not callable(found):
        raise UserError(
            f"{field} is {path!r}: it names a value of type {type(found).__name__}, not a function"
        )
    return found


def require_logits(module: nn.Module, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise UserError unless module gives floating-point logits [B, num_classes].

    It is trained and applied on images [B, *image_shape], but nothing is computed: shapes alone are
    traced.
    """
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    where = (
        f"config field classifier.factory: for images of shape {list(images.shape)} its classifier"
    )

    def evaluate(variables: Any, images: jax.Array) -> Any:
        return module.apply(variables, images, train=False)

    def update(variables: Any, images: jax.Array, key: jax.Array) -> Any:
        return module.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]

    try:
        made = jax.eval_shape(partial(module.init, train=False), key, images)
        variables = {"params": made.get("params", {}), "batch_stats": made.get("batch_stats", {})}
        logits = {
            "in evaluation": jax.eval_shape(evaluate, variables, images),
            "in training": jax.eval_shape(update, variables, images, key),
        }
    except Exception as error:
        raise UserError(f"{where} fails ({_line(error)})") from error
    if not jax.tree.leaves(variables["params"]):
        raise UserError(f"{where} has no parameters to train")
    wanted = f"logits of shape [2, {num_classes}] and a floating-point type"
    for when, found in logits.items():
        if not isinstance(found, jax.ShapeDtypeStruct):
            raise UserError(f"{where} returns {type(found).__name__} ({when}), expected {wanted}")
        if found.shape != (2, num_classes) or not jnp.issubdtype(found.dtype, jnp.floating):
            raise UserError(
                f"{where} returns shape {list(found.shape)} of {found.dtype} ({when}), "
                f"expected {wanted}"
            )


def _with_train_flag(module: nn.Module, path: str) -> nn.Module:
    """Return the module itself where its flag is called train, else an adapter.

    A module that cannot be hashed for jit gets an adapter as well.
    """
    parameters = inspect.signature(type(module).__call__).parameters
    on, off = (
        tuple(name for name in names if name in parameters) for names in (_TRAINS, _EVALUATES)
    )
    fields = [name for name in (*_TRAINS, *_EVALUATES) if name in type(module).__dataclass_fields__]
    if not on + off and fields:
        raise UserError(
            f"config field classifier.factory is {path!r}: its module {type(module).__name__} "
            f"takes {fields[0]} when it is made, expected as an argument of __call__: "
            "a classifier is trained and applied in turn"
        )
    try:
        hash(module)
    except TypeError:  # it has a list, for one
        return _Adapter(module, on, off)
    return module if (on, off) == (("train",), ()) else _Adapter(module, on, off)


class _Adapter(nn.Module):
    """A module under our name for its flag of training. Its variables are the module's own, under
    the same names.

    Two adapters are equal only if they are the same object, whatever the module holds.
    """

    module: nn.Module
    on: tuple[str, ...]
    off: tuple[str, ...]

    __hash__ = object.__hash__
    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType]  (flax names its argument)

    def setup(self) -> None:
        nn.share_scope(self, self.module)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        return self.module(
            images, **dict.fromkeys(self.on, train), **dict.fromkeys(self.off, not train)
        )


class _Plain(nn.Module):
    """A pair of plain functions as a module with the one parameter 'weights'."""

    init_weights: Callable[[jax.Array, jax.Array], Any]
    apply_weights: Callable[[Any, jax.Array], jax.Array]

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        # Flax asks for the shapes of fresh weights at every call: of one image, so that no batch
        # size can shape them
        return self.apply_weights(self.param("weights", self.init_weights, images[:1]), images)


def _line(error: Exception) -> str:
    """Return an exception's message in one line."""
    text, kind = reason(error, 300), type(error).__name__
    return text if text == kind else f"{kind}: {text}"
