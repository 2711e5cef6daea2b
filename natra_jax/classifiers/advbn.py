"""AdvBN (Shu et al. 2021) as a Flax layer: where a classifier's feature statistics are perturbed.

    class Net(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(16, (3, 3))(images)))
            x = AdvBN()(x)  # changes nothing by itself
            return nn.Dense(10)(x.mean((1, 2)))

    cut = Cut.of(net, variables, images.shape)  # trunk before the layer, head after it
    features = cut.trunk(variables, images)
    logits_fn = Partial(cut.head, variables)  # features -> logits
    space = attacks.feature_stats(64, relu=cut.relu)
    loss_fn = attacks.objective(logits_fn, labels)
    worst = attacks.pgd(6, 0.2)(loss_fn, keys, space, features, epsilon)
    logits = logits_fn(worst.inputs)

The layer has no parameters. The collection 'advbn' says what it does, at its place in the tree:
'features' stand in for its input; 'm' and 's' [G, C] perturb the input.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from natra_jax.classifiers.precision import precise
from natra_jax.feature_statistics import channel_means, perturb

_COLLECTION = "advbn"
Variables = dict[str, Any]  # params, and batch_stats where there are any


class AdvBN(nn.Module):
    """Return features [B, ..., C] as they are, unless the collection 'advbn' says otherwise.

    Features of fewer digits, such as bfloat16, are float32 in the collection.

    relu: whether features are a ReLU's output.
    """

    relu: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.asarray(x)
        kept, x = x.dtype, precise(x)
        if self.is_mutable_collection(_COLLECTION) and not self.is_initializing():
            self.put_variable(_COLLECTION, "features", x)
        elif self.has_variable(_COLLECTION, "features"):
            x = self.get_variable(_COLLECTION, "features")
        if self.has_variable(_COLLECTION, "m"):
            m, s = self.get_variable(_COLLECTION, "m"), self.get_variable(_COLLECTION, "s")
            x = perturb(x, channel_means(x, m.shape[0]), m, s, self.relu)
        return x.astype(kept)


class Cut(NamedTuple):
    """A classifier cut at its AdvBN layer: before the layer the trunk, everything else the head.

    All that the head knows of the images has to pass through the layer: with a shortcut around it,
    the head's logits are not a number.
    """

    module: nn.Module
    layer: tuple[str, ...]  # path of the AdvBN layer
    before: frozenset[tuple[str, ...]]  # paths of the trunk's modules
    image_shape: tuple[int, ...]  # [H, W, C]
    relu: bool  # whether the features at the layer are a ReLU's output, as the layer says

    @classmethod
    def of(cls, module: nn.Module, variables: Variables, image_shape: tuple[int, ...]) -> Cut:
        """Cut the module, computing nothing but shapes.

        image_shape: [B, H, W, C]. Raises ValueError unless the module has exactly one AdvBN layer.
        """
        images = jax.ShapeDtypeStruct(image_shape, jnp.float32)
        recorded = jax.eval_shape(lambda v, x: _record(module, v, x), variables, images)
        places = [path[:-1] for path in flatten_dict(recorded)]
        if len(places) != 1:
            raise ValueError(
                "a classifier needs exactly one AdvBN layer to perturb features at, "
                f"this one has {len(places)}"
            )
        layer: tuple[str, ...] = places[0]
        called: list[tuple[str, ...]] = []
        relus: list[bool] = []

        def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            called.append(_path(context.module))
            if called[-1] == layer:
                relus.append(context.module.relu)
            return call(*args, **kwargs)

        with nn.intercept_methods(watch):
            jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, images)
        before = called[: called.index(layer)]
        # the modules that contain the layer
        around = {layer[:depth] for depth in range(len(layer))}
        return cls(module, layer, frozenset(before) - around, tuple(image_shape[1:]), relus[0])

    def trunk(self, variables: Variables, images: jax.Array) -> jax.Array:
        """Return the features [B, ..., C] that reach the layer, of images [B, H, W, C].

        BatchNorm takes running statistics.
        """
        (features,) = jax.tree.leaves(_record(self.module, variables, images))
        return features

    def head(self, variables: Variables, features: jax.Array) -> jax.Array:
        """Return the logits [B, num_classes] of features [B, ..., C].

        BatchNorm takes running statistics.
        """
        logits: Any = self.module.apply(
            self._given(variables, features), self._blank(features), train=False
        )
        return logits

    def train_head(
        self, variables: Variables, features: jax.Array, rngs: dict[str, jax.Array]
    ) -> tuple[jax.Array, Any]:
        """Return logits as `head` does, in training, and the new batch_stats.

        Those of the trunk are the old ones. rngs: for dropout.
        """
        given, blank = self._given(variables, features), self._blank(features)
        logits, updated = self.module.apply(
            given, blank, train=True, mutable=["batch_stats"], rngs=rngs
        )
        return logits, self.keep_trunk(variables["batch_stats"], updated.get("batch_stats", {}))

    def keep_trunk(self, old: Any, new: Any) -> Any:
        """Return new with the leaves of the trunk as they are in old; trees of one collection."""
        before = flatten_dict(old)
        return unflatten_dict(
            {
                path: before[path] if self.in_trunk(path) else leaf
                for path, leaf in flatten_dict(new).items()
            }
        )

    def in_trunk(self, path: tuple[str, ...]) -> bool:
        """Tell whether the leaf at this path of a collection belongs to the trunk."""
        return any(path[:depth] in self.before for depth in range(1, len(path)))

    def _given(self, variables: Variables, features: jax.Array) -> Variables:
        return variables | {_COLLECTION: unflatten_dict({(*self.layer, "features"): features})}

    def _blank(self, features: jax.Array) -> jax.Array:
        # The trunk's output is not used, so that compilers leave the trunk out. Where the head sees
        # more of the images than what passes through the layer, its answer must not look like one.
        return jnp.full((features.shape[0], *self.image_shape), jnp.nan, features.dtype)


def _path(module: nn.Module) -> tuple[str, ...]:
    """Return the path of the module's variables; its own is out of date below nn.share_scope."""
    scope: Any = module.scope
    names = []
    while scope.parent is not None:
        names.append(scope.name)
        scope = scope.parent
    return (*scope.path, *reversed(names))


def _record(module: nn.Module, variables: Variables, images: jax.Array) -> Any:
    """Return the collection 'advbn' with the features that reach the layer."""
    applied: Any = module.apply(variables, images, train=False, mutable=[_COLLECTION])
    return applied[1].get(_COLLECTION, {})
