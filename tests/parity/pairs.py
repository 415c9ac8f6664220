"""Combinations of factor values in which every pair of values of two factors is met."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

import numpy as np

Choice = tuple[int, ...]  # one value's index per factor
Accepts = Callable[[Choice], bool]
Pair = tuple[tuple[int, int], tuple[int, int]]  # (factor, value) and (factor, value)

POOL = 600  # random combinations to choose from
TRIES = 150  # random completions of a pair that the pool does not have in an accepted combination
FEW = 6  # of them to choose from
MOST_REFUSED = 20
REFUSED_EVERY = 6  # beyond the pairs, one combination in so many is one that is refused


def pairs_of(choice: Choice) -> Iterator[Pair]:
    return combinations(enumerate(choice), 2)


def covering(
    sizes: Sequence[int], accepts: Accepts, target: int, seed: str, musts: Sequence[Accepts] = ()
) -> list[Choice]:
    """Combinations with every pair of values, about ``target`` of them; more only where the pairs need them.

    A pair is met in a combination that ``accepts`` takes wherever there is one, so that what is refused hides nothing;
    pairs that are always refused are met where nothing else is refused, if possible. The same arguments give the same
    combinations.

    Args:
        sizes: Number of values of each factor.
        accepts: Whether a combination is one to compute; the others are to be refused.
        target: How many combinations to fill up to with random ones.
        seed: Of the random numbers.
        musts: Each of these is to be true of some combination.
    """
    rng = random.Random(seed)
    verdicts: dict[Choice, bool] = {}

    def accepted(choice: Choice) -> bool:
        if choice not in verdicts:
            verdicts[choice] = accepts(choice)
        return verdicts[choice]

    def draw() -> Choice:
        return tuple(int(rng.random() * size) for size in sizes)

    def nearly(choice: Choice, factors: Iterable[int]) -> bool:
        """Whether another value of one of these factors would do: then nothing else is refused."""
        return any(accepted((*choice[:f], v, *choice[f + 1 :])) for f in factors for v in range(sizes[f]))

    pool = list(dict.fromkeys(draw() for _ in range(POOL)))
    good = [choice for choice in pool if accepted(choice)]
    bad = [choice for choice in pool if not accepted(choice)]
    bad = list(islice((choice for choice in bad if nearly(choice, range(len(sizes)))), MOST_REFUSED)) or bad
    wanted = {
        ((i, a), (j, b))
        for i, j in combinations(range(len(sizes)), 2)
        for a in range(sizes[i])
        for b in range(sizes[j])
    }
    chosen = _greedy(good, wanted)
    possible = {value for choice in good for value in enumerate(choice)}
    shown = set(possible)
    for pair in sorted(wanted):  # what _greedy left over: rare, or always refused
        if pair not in wanted:
            continue
        (i, a), (j, b) = pair
        tries = [tuple(a if k == i else b if k == j else v for k, v in enumerate(draw())) for _ in range(TRIES)]
        fitting = list(islice(filter(accepted, tries), FEW))
        if not fitting and (possible.issuperset(pair) or not shown.issuperset(pair)):
            # What only the pair refuses; and once each value that is always refused, with others that are not.
            fitting = list(islice((choice for choice in tries if nearly(choice, (i, j))), FEW))
        fitting = fitting or tries
        best = max(fitting, key=lambda choice: len(wanted.intersection(pairs_of(choice))))
        wanted.difference_update(pairs_of(best))
        shown.update(pair)
        chosen.append(best)
    for must in musts:
        if not any(map(must, chosen)):
            chosen.append(next(filter(must, iter(draw, None))))
    taken = set(chosen)
    rest, refused = ([choice for choice in each if choice not in taken] for each in (good, bad))
    while len(chosen) < target and (rest or refused):
        source = refused if refused and (not rest or len(chosen) % REFUSED_EVERY == 0) else rest
        chosen.append(source.pop())
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
