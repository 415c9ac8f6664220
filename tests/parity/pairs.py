"""Combinations of factor values in which every pair of values of two factors is met."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, islice
from typing import Any

import numpy as np

Choice = tuple[int, ...]  # one value's index per factor
Accepts = Callable[[Choice], bool]
Pair = tuple[tuple[int, int], tuple[int, int]]  # (factor, value) and (factor, value)

POOL = 600  # random combinations to choose from
TRIES = 150  # random completions of a pair that the pool does not have in an accepted combination
FEW = 6  # of them to choose from
REFUSED_EVERY = 6  # beyond the pairs, one combination in so many is one that is refused


def pairs_of(choice: Choice) -> Iterator[Pair]:
    return combinations(enumerate(choice), 2)


class Space:
    """All combinations of some factors, which of them are accepted, and a stream of random ones.

    Args:
        sizes: Number of values of each factor.
        accepts: Whether a combination is one to compute; the others are to be refused.
        seed: Of the random numbers.
    """

    def __init__(self, sizes: Sequence[int], accepts: Accepts, seed: str) -> None:
        self.sizes = sizes
        self.accepted = cache(accepts)
        self.rng = random.Random(seed)

    def draw(self) -> Choice:
        return tuple(int(self.rng.random() * size) for size in self.sizes)

    def draw_with(self, pair: Pair) -> Choice:
        fixed = dict(pair)
        return tuple(fixed.get(factor, value) for factor, value in enumerate(self.draw()))

    def nearly(self, choice: Choice, factors: Iterable[int]) -> bool:
        """Whether another value of one of these factors would do: then nothing else is refused."""
        others = ((*choice[:f], value, *choice[f + 1 :]) for f in factors for value in range(self.sizes[f]))
        return any(map(self.accepted, others))

    def pairs(self) -> set[Pair]:
        return {
            ((i, a), (j, b))
            for i, j in combinations(range(len(self.sizes)), 2)
            for a in range(self.sizes[i])
            for b in range(self.sizes[j])
        }


def covering(
    sizes: Sequence[int], accepts: Accepts, target: int, seed: str, musts: Sequence[Accepts] = ()
) -> list[Choice]:
    """Combinations with every pair of values, about ``target`` of them; more only where the pairs need them.

    A pair is met in a combination that ``accepts`` takes wherever there is one, so that what is refused hides nothing;
    what only a pair refuses is met where nothing else is refused, and so is, once, every value that is always refused.
    The same arguments give the same combinations.

    Args:
        sizes: Number of values of each factor.
        accepts: Whether a combination is one to compute; the others are to be refused.
        target: How many combinations to fill up to with random ones.
        seed: Of the random numbers.
        musts: Each of these is to be true of some combination.
    """
    space = Space(sizes, accepts, seed)
    pool = list(dict.fromkeys(space.draw() for _ in range(POOL)))
    good = [choice for choice in pool if space.accepted(choice)]
    bad = [choice for choice in pool if not space.accepted(choice)]
    wanted = space.pairs()
    chosen = _greedy(good, wanted)
    chosen += _one_by_one(space, wanted, {value for choice in good for value in enumerate(choice)})
    for must in musts:
        if not any(map(must, chosen)):
            chosen.append(next(filter(must, iter(space.draw, None))))
    taken = set(chosen)
    factors = range(len(sizes))
    rest = [choice for choice in good if choice not in taken]
    refused = [choice for choice in bad if choice not in taken]
    refused = list(islice((choice for choice in refused if space.nearly(choice, factors)), target)) or refused
    while len(chosen) < target and (rest or refused):
        source = refused if refused and (not rest or len(chosen) % REFUSED_EVERY == 0) else rest
        chosen.append(source.pop())
    return chosen


def _one_by_one(space: Space, wanted: set[Pair], possible: set[tuple[int, int]]) -> list[Choice]:
    """Combinations for the pairs that are rare or always refused; ``possible`` values are in accepted combinations."""
    chosen = []
    shown = set(possible)
    for pair in sorted(wanted):
        if pair not in wanted:
            continue
        tries = [space.draw_with(pair) for _ in range(TRIES)]
        fitting = list(islice(filter(space.accepted, tries), FEW))
        if not fitting and (possible.issuperset(pair) or not shown.issuperset(pair)):
            fitting = list(islice((choice for choice in tries if space.nearly(choice, dict(pair))), FEW))
        best = max(fitting or tries, key=lambda choice: len(wanted.intersection(pairs_of(choice))))
        wanted.difference_update(pairs_of(best))
        shown.update(pair)
        chosen.append(best)
    return chosen


def _greedy(pool: Sequence[Choice], wanted: set[Pair]) -> list[Choice]:
    """From ``pool``, one after the other, that with the most wanted pairs; takes them out of ``wanted``."""
    if not pool or not wanted:
        return []
    number = {pair: index for index, pair in enumerate(sorted(wanted))}
    has = np.array([[number[pair] for pair in pairs_of(choice)] for choice in pool])
    missing = np.ones(len(number), bool)
    chosen = []
    while True:
        gains = missing[has].sum(axis=1)
        best = int(gains.argmax())
        if not gains[best]:
            return chosen
        missing[has[best]] = False
        wanted.difference_update(pairs_of(pool[best]))
        chosen.append(pool[best])


def values_at(factors: Mapping[str, Sequence[Any]], choice: Choice) -> dict[str, Any]:
    """The values that a combination stands for, by factor."""
    return {name: values[index] for (name, values), index in zip(factors.items(), choice, strict=True)}
