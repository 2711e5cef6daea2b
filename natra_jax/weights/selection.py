"""The one network that is meant, among all that a checkpoint holds, told by names alone.

    tensors, notes = select(checkpoint, recognises)

A state dict may have a wrapper's prefix before each name (`module.`, `_orig_mod.`), may be one of
several in a dict (`netG`, `netD`, `optimizer`), and a state dict of a whole training has its
networks' names before those of their tensors (`generator.`, `discriminator.`). In all formats
readers join such names by dots, so that all are one: a path of names, at whose end the network's
own names begin. The path is followed through the names below, averaged weights before others, until
a network is recognised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.tensors import Checkpoint

# Put by wrappers of PyTorch before the names of the modules within, at any depth.
_WRAPPED = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_AVERAGED = re.compile(r"ema|averaged|average|avg|running|smooth|shadow")
# What scripts add to a network's name, in either place: netG, G_net, generator_state_dict.
_ADDED = re.compile(r"statedict|weights|params|models?|nets?|networks?|modules?|state")
_GENERATORS = {"g", "gen", "generator"}
_CLASSIFIERS = {"classifier", "backbone", "encoder"}
# Networks and states that lie beside, where the network's own names stand at the same place.
_BESIDE = re.compile(
    r"(?i)(?:net|model|[dg])?_?(?:d|dis|disc|discriminator|optims?|optimizers?|(?:lr_?)?schedulers?"
    r"|scaler|criterion|loss|callbacks|loops|args|hparams|hyper_parameters)(?:_ema)?(?:_?state|_?"
    r"state_dict|_?\d)?"
)
_COUNTERS = {
    "n_averaged",
    "num_updates",
    "decay",
    "initted",
    "step",
    "steps",
    "epoch",
    "iter",
    "iteration",
    "global_step",
    "total_steps",
    "cur_nimg",
    "pytorch-lightning_version",
}
_MEAN = "latent_avg"  # beside g_ema, in what rosinality/stylegan2-pytorch converts
_DEPTH, _NAMED = 8, 5


def select(
    checkpoint: Checkpoint, recognises: Callable[[set[str]], bool]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return (the tensors of the network that is meant, a note of what was left out).

    recognises: (names) -> whether they are a network's that can be used. Where there is none, the
    path is followed as far as the names go. A mean code beside the network is kept as 'latent_avg'.
    Raises UserError if something in the network is no tensor.
    """
    tensors, unread = _unwrapped(checkpoint.tensors), _unwrapped(checkpoint.unread)
    levels = _levels(set(tensors))
    names = {prefix: _own(names) for prefix, names in levels.items()}
    found = next((prefix for prefix, own in names.items() if recognises(own)), None)
    prefix = _farthest(levels) if found is None else found
    own = names[prefix]
    inside = {name.removeprefix(prefix) for name in unread if name.startswith(prefix)}
    if there := sorted(_own(inside) | (own & inside)):
        raise UserError(
            f"has {unread[prefix + there[0]]} among its tensors: save the state_dict() alone"
        )
    chosen = {name: tensors[prefix + name] for name in _in_order(tensors, prefix, own)}
    for above in levels:
        if prefix.startswith(above) and above != prefix and above + _MEAN in tensors:
            if _MEAN in chosen:
                raise UserError(
                    f"has {_MEAN} twice, within the network and beside it: leave one out"
                )
            chosen[_MEAN] = tensors[above + _MEAN]
    kept = {prefix + name for name in own}
    return chosen, _note(prefix, [name for name in (*tensors, *unread) if name not in kept])


def _in_order(tensors: Mapping[str, object], prefix: str, own: set[str]) -> Iterator[str]:
    """Yield the names behind the prefix that are among `own`, in the file's order."""
    for name in tensors:
        if name.startswith(prefix) and (rest := name.removeprefix(prefix)) in own:
            yield rest


def _unwrapped(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries without wrappers' prefixes."""
    found = {_WRAPPED.sub("", name): value for name, value in entries.items()}
    if len(found) != len(entries):
        ((twice, _),) = Counter(_WRAPPED.sub("", name) for name in entries).most_common(1)
        raise UserError(f"has {shown(twice)} twice, within a wrapper and beside it: leave one out")
    return found


def _levels(names: set[str]) -> dict[str, set[str]]:
    """Return {prefix: the names behind it} of all places where a network may be, best first."""
    found: dict[str, set[str]] = {}

    def enter(prefix: str, names: set[str], depth: int) -> None:
        found[prefix] = names
        if depth == _DEPTH:
            return
        below: dict[str, set[str]] = {}
        for name in names:
            first, dot, rest = name.partition(".")
            if dot:
                below.setdefault(first, set()).add(rest)
        alone = (
            len(below) == 1
            and names.isdisjoint(below)
            and _own(names)
            == {f"{first}.{rest}" for first, inner in below.items() for rest in inner}
        )
        ranks = {first: _rank(first, alone) for first in below}
        for _, first in sorted((rank, first) for first, rank in ranks.items() if rank is not None):
            enter(f"{prefix}{first}.", below[first], depth + 1)

    enter("", names, 0)
    return found


def _rank(name: str, alone: bool) -> int | None:
    """Return where a name stands among those that may lead to the network; None if it may not.

    alone: whether all tensors are behind it, so that it may have any name.
    """
    plain = re.sub(r"[_\-]", "", name.casefold())
    base = _AVERAGED.sub("", plain)
    averaged, base = base != plain, _ADDED.sub("", base)
    if base in _GENERATORS:
        return 0 if averaged else 2
    if not base:
        return 1 if averaged else 3
    if base in _CLASSIFIERS:
        return 4
    return 5 if alone else None


def _farthest(levels: Mapping[str, object]) -> str:
    """Return the first prefix that no other one continues, as far as names alone lead.

    Names that are a network's own in many networks do not.
    """
    prefixes = [
        prefix for prefix in levels if _CLASSIFIERS.isdisjoint(prefix.casefold().split("."))
    ]
    return next(
        prefix
        for prefix, following in zip(prefixes, [*prefixes[1:], ""], strict=True)
        if not (following and following.startswith(prefix))
    )


def _own(names: set[str]) -> set[str]:
    """Return the names without those of counters, and of networks and states that lie beside."""
    return {
        name
        for name in names
        if name not in _COUNTERS and not _BESIDE.fullmatch(name.partition(".")[0])
    }


def _note(prefix: str, dropped: list[str]) -> tuple[str, ...]:
    """Return a line that says what was left out, each at its outermost name, or nothing."""
    places = prefix.split(".")[:-1]
    outermost = set()
    for name in dropped:
        parts = name.split(".")
        same = 0
        while same < min(len(places), len(parts) - 1) and parts[same] == places[same]:
            same += 1
        if parts[same] != _MEAN:
            outermost.add(".".join(parts[: same + 1]))
    if not outermost:
        return ()
    named = ", ".join(shown(name, 40) for name in sorted(outermost)[:_NAMED])
    more = f" and {len(outermost) - _NAMED} more" if len(outermost) > _NAMED else ""
    where = f"{shown(prefix[:-1])} is read; " if prefix else ""
    return (f"{where}left out is what lies beside it: {named}{more}",)
