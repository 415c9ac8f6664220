"""Losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.parity.spec import Case, Row, Values, by_name, positive, row

REDUCTION = ["mean", "none", "sum", "average"]  # the last is none
SHAPES: list[Any] = [(3, 4), (5,), (2, 3, 2, 3), (), (0, 3), (2, 1, 3)]


def reduces(c: Values) -> bool:
    return bool(c.reduction != "average")


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(axis=min(1, x.ndim - 1), keepdims=True)) if x.ndim else x


# ---------------------------------------------------------------- elementwise: input and target alike

Pair = tuple[tuple[int, ...], tuple[int, ...]]
ALIKE: list[Pair] = [(shape, shape) for shape in SHAPES]
BROADCAST: Pair = ((3, 4), (4,))
APART: Pair = ((3, 4), (2, 3))


def two(c: Values, rng: np.random.Generator) -> list[Any]:
    return [rng.standard_normal(c.shapes[0]), rng.standard_normal(c.shapes[1])]


def two_apart_or_equal(c: Values, rng: np.random.Generator) -> list[Any]:
    """Distances on both sides of the bend, on it, and none."""
    x = rng.integers(-3, 4, c.shapes[0]) / 2
    return [x, rng.integers(-3, 4, c.shapes[1]) / 2] if c.content == "kinks" else two(c, rng)


def distance(name: str, arguments: dict[str, list[Any]], accepts: Callable[[Values], bool] = reduces) -> Row:
    return row(
        name,
        arguments,
        factors={"shapes": [*ALIKE, BROADCAST, APART], "content": ["normal", "kinks"]},
        inputs=two_apart_or_equal,
        accepts=lambda c: accepts(c) and c.shapes != APART,
    )


def probabilities(c: Values, rng: np.random.Generator) -> list[Any]:
    """Probabilities and targets; for "ends" also exactly 0 and 1, for "outside" one beyond.

    At the ends PyTorch limits the loss but not its gradient by the target, and that by the input with an epsilon of
    float32 precision: without gradients there.
    """
    x, target = rng.uniform(0.05, 0.95, c.shapes[0]), rng.uniform(0, 1, c.shapes[1])
    if c.content == "ends":
        x, target = rng.choice([0.0, 1.0, 0.3, 1e-30], c.shapes[0]), rng.choice([0.0, 1.0], c.shapes[1])
    if c.content == "outside" and x.size:
        x.flat[0] = 1.5
    return [x, target]


BCE_WEIGHTS = [None, positive(4), positive(3, 1), positive(7)]


def weighs(weight: Any, shape: tuple[int, ...]) -> bool:
    """Whether a weight can be broadcast to the shape."""
    if weight is None:
        return True
    size = weight.make(np.random.default_rng()).shape
    try:
        return np.broadcast_shapes(size, shape) == shape
    except ValueError:
        return False


def bce_accepts(c: Values) -> bool:
    inside = c.content != "outside" or math.prod(c.shapes[0]) == 0
    return reduces(c) and c.shapes[0] == c.shapes[1] and weighs(c.weight, c.shapes[0]) and inside


BCE = row(
    "BCELoss",
    {"weight": BCE_WEIGHTS, "reduction": REDUCTION},
    factors={"shapes": [*ALIKE, BROADCAST, ((3, 4), (4, 3))], "content": ["normal", "ends", "outside"]},
    inputs=probabilities,
    constants=lambda c: (0, 1) if c.content == "ends" else (),
    accepts=bce_accepts,
)


def logits(c: Values, rng: np.random.Generator) -> list[Any]:
    scale = 200 if c.content == "large" else 2
    return [rng.standard_normal(c.shapes[0]) * scale, rng.uniform(0, 1, c.shapes[1])]


BCE_LOGITS = row(
    "BCEWithLogitsLoss",
    {"weight": BCE_WEIGHTS, "reduction": REDUCTION, "pos_weight": [None, positive(4), positive(1), positive(6)]},
    factors={"shapes": [*ALIKE, BROADCAST], "content": ["normal", "large"]},
    inputs=logits,
    accepts=lambda c: (
        reduces(c)
        and c.shapes[0] == c.shapes[1]
        and weighs(c.weight, c.shapes[0])
        and weighs(c.pos_weight, c.shapes[0])
    ),
)


def divergence(c: Values, rng: np.random.Generator) -> list[Any]:
    x, target = log_softmax(rng.standard_normal(c.shapes[0])), rng.uniform(0.05, 1, c.shapes[1])
    if c.content == "not positive" and not c.log_target:
        target = np.where(rng.uniform(size=target.shape) < 0.3, -target, target)
    return [x, np.log(target) if c.log_target else target]


def kl_div(torch: Any, case: Case) -> Any:
    """As the documented example prints it, a target that is not positive contributes 0; nan in PyTorch."""
    plain = torch.nn.KLDivLoss(**case.arguments(torch, "reduction"), reduction="none")

    def loss(x: Any, target: Any) -> Any:
        each = plain(x, target if case.c.log_target else torch.where(target > 0, target, 1))
        if not case.c.log_target:
            each = torch.where(target > 0, each, 0)
        return reduced(case.c.reduction, each, x)

    return loss


def reduced(reduction: str, each: Any, x: Any) -> Any:
    if reduction == "average":
        raise ValueError("average is not a valid value for reduction")
    if reduction == "batchmean":
        return each.sum() / (x.shape[0] if x.ndim else 1)
    return each if reduction == "none" else getattr(each, reduction)()


KL_DIV = row(
    "KLDivLoss",
    {"reduction": [*REDUCTION, "batchmean"], "log_target": [False, True]},
    factors={"shapes": [*ALIKE, BROADCAST, APART], "content": ["normal", "not positive"]},
    inputs=divergence,
    reference=lambda lib, case: by_name(lib, case) if case.c.content == "normal" else kl_div(lib, case),
    accepts=lambda c: reduces(c) and c.shapes != APART,
)

# ---------------------------------------------------------------- over classes

CLASSES: list[Any] = [(3, 4), (4,), (2, 4, 3), (2, 4, 2, 3), (0, 4), ()]


def class_targets(c: Values, rng: np.random.Generator) -> Any:
    """Classes; with "ignored" some are the ignored one, with "outside" one is not a class."""
    shape = c.shape[:-1] if len(c.shape) < 2 else (c.shape[0], *c.shape[2:])
    target = np.asarray(rng.integers(0, 4, shape))
    if c.target == "ignored":
        target = np.where(rng.uniform(size=shape) < 0.4, c.ignore_index, target)
    if c.target == "outside" and target.size:
        target.flat[0] = 4
    if c.target == "other shape":
        target = np.zeros((*shape, 2), int)
    return np.asarray(target, np.int64)


def scores(c: Values, rng: np.random.Generator) -> list[Any]:
    x = rng.standard_normal(c.shape)
    if c.target == "probabilities":
        return [x, rng.uniform(0, 1, c.shape)]
    return [log_softmax(x), class_targets(c, rng)]


CLASS_WEIGHTS = [None, positive(4), positive(3)]
CLASS_ARGUMENTS = {"weight": CLASS_WEIGHTS, "ignore_index": [-100, 1, 7], "reduction": REDUCTION}


def classes_accept(c: Values) -> bool:
    if not reduces(c) or c.shape == () or (c.weight is not None and c.weight.label != "positive[4]"):
        return False
    if c.target == "other shape" or (c.target == "probabilities" and c.ignore_index >= 0):
        return False
    return c.target != "outside" or 0 in c.shape or c.ignore_index == 4


def contiguous_nll(lib: Any, case: Case) -> Any:
    """PyTorch's gradient for images exists for contiguous inputs only."""
    module = by_name(lib, case)
    module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), inputs[1]))
    return module


CLASS_LOSSES = [
    row(
        "NLLLoss",
        CLASS_ARGUMENTS,
        factors={"shape": CLASSES, "target": ["classes", "ignored", "outside", "other shape"]},
        inputs=scores,
        reference=contiguous_nll,
        accepts=classes_accept,
    ),
    row(
        "CrossEntropyLoss",
        CLASS_ARGUMENTS,
        factors={"shape": CLASSES, "target": ["classes", "ignored", "outside", "other shape", "probabilities"]},
        inputs=scores,
        accepts=classes_accept,
    ),
]

# ---------------------------------------------------------------- rankings

RANKED: list[Any] = [
    ((3, 4),) * 3,
    ((5,),) * 3,
    ((),) * 3,
    ((0, 3),) * 3,
    ((3, 4), (3, 4), (4,)),
    ((3, 4), (2, 4), (3, 4)),
]


def ranked(c: Values, rng: np.random.Generator) -> list[Any]:
    x, y = (rng.integers(-2, 3, shape) / 2 for shape in c.shapes[:2])
    return [x + 0.0, y + 0.0, rng.choice([-1.0, 1.0], c.shapes[2])]


def triplet(c: Values, rng: np.random.Generator) -> list[Any]:
    return [rng.standard_normal(shape) for shape in c.shapes]


TRIPLETS: list[Any] = [
    ((4, 3),) * 3,
    ((1, 5),) * 3,
    ((3,),) * 3,
    ((2, 3, 4),) * 3,
    ((0, 3),) * 3,
    ((4, 3), (4, 3), (4, 2)),
]

RANKINGS = [
    row(
        "MarginRankingLoss",
        {"margin": [0.0, 1.0, -0.5], "reduction": REDUCTION},
        factors={"shapes": RANKED},
        inputs=ranked,
        accepts=lambda c: reduces(c) and c.shapes not in RANKED[4:],
    ),
    row(
        "TripletMarginLoss",
        {
            "margin": [1.0, 0.1, -1.0],
            "p": [2.0, 1.0, 3, math.inf],
            "eps": [1e-6, 1e-2],
            "swap": [False, True],
            "size_average": [None, True, False],
            "reduce": [None, True, False],
            "reduction": REDUCTION,
        },
        factors={"shapes": TRIPLETS},
        inputs=triplet,
        speakers=("pairwise_distance",),
        accepts=lambda c: (
            c.shapes != TRIPLETS[-1]
            and c.margin > 0
            and (reduces(c) or c.size_average is not None or c.reduce is not None)
        ),
    ),
]

# ---------------------------------------------------------------- sequences


def sequences(c: Values, rng: np.random.Generator) -> list[Any]:
    """Scores (T, N, C) or (T, C), and targets without the blank, padded or one after the other."""
    steps, batch, classes = 6, 3, 5
    x = rng.standard_normal((steps, classes) if c.form == "one" else (steps, batch, classes))
    labels = [label for label in range(classes) if label != c.blank]
    lengths = np.array([6, 5, 4])
    counts = np.array(
        {"usual": [3, 2, 1], "empty": [3, 0, 2], "impossible": [3, 5, 2], "too long": [3, 9, 2]}[c.targets]
    )
    targets = rng.choice(labels, (batch, 5))
    if c.targets == "impossible":
        targets[1] = labels[0]  # repeated labels need blanks between them
    if c.form == "one":
        return [x, targets[1, : counts[1]], lengths[1], counts[1]]
    if c.form == "joined":
        targets = np.concatenate([each[:count] for each, count in zip(targets, counts, strict=True)])
    if c.form == "tuples":
        return [x, targets, tuple(map(int, lengths)), tuple(map(int, counts))]
    return [x, targets, lengths, counts]


def normalized_ctc(lib: Any, case: Case) -> Any:
    """PyTorch's gradient is right for normalised log-probabilities only, so both normalise first."""
    loss = lib.nn.CTCLoss(**case.arguments(lib))
    normalize = lib.nn.LogSoftmax(dim=-1)
    return lambda x, *others: loss(normalize(x), *others)


def contiguous_ctc(lib: Any, case: Case) -> Any:
    """PyTorch looks beside the labels where joined targets are not contiguous."""
    loss = normalized_ctc(lib, case)
    return lambda x, targets, *lengths: loss(x, targets.contiguous(), *lengths)


CTC = row(
    "CTCLoss",
    {"blank": [0, 2, 4, 5], "reduction": REDUCTION, "zero_infinity": [False, True]},
    factors={
        "form": ["padded", "joined", "tuples", "one"],
        "targets": ["usual", "empty", "impossible", "too long"],
    },
    inputs=sequences,
    build=normalized_ctc,
    reference=contiguous_ctc,
    accepts=lambda c: reduces(c) and c.blank < 5 and c.targets != "too long",
)

# ---------------------------------------------------------------- margins


def cosines(c: Values, rng: np.random.Generator) -> list[Any]:
    label = rng.integers(0, 4, c.size[0])
    if c.label == "outside" and label.size:
        label[0] = 4
    return [rng.uniform(-0.95, 0.95, c.size), label.astype(np.int32 if c.label == "int32" else np.int64)]


def combined_margin(torch: Any, case: Case) -> Any:
    """The formula of InsightFace: cos(m1 * theta + m2) - m3 in the place of the label's cosine."""
    m1, m2, m3 = case.c.m1, case.c.m2, case.c.m3

    def loss(x: Any, label: Any) -> Any:
        chosen = torch.nn.functional.one_hot(label.long(), x.shape[1]).bool()
        return torch.where(chosen, torch.cos(m1 * torch.acos(x) + m2) - m3, x)

    return loss


MARGIN = row(
    "CombinedMarginLoss",
    {"m1": [1.0, 0.3, 1.35], "m2": [0.0, 0.5], "m3": [0.0, 0.4, -0.1]},
    factors={"size": [(3, 4), (1, 4), (5, 6), (0, 4)], "label": ["int64", "int32", "outside"]},
    inputs=cosines,
    reference=combined_margin,
    accepts=lambda c: c.label != "outside" or c.size[0] == 0 or c.size[1] > 4,
)

ROWS = [
    distance("L1Loss", {"reduction": REDUCTION}),
    distance("MSELoss", {"reduction": REDUCTION}),
    distance(
        "SmoothL1Loss",
        {"reduction": REDUCTION, "beta": [1.0, 0.5, 0.0, -1.0]},
        lambda c: reduces(c) and c.beta >= 0,
    ),
    BCE,
    BCE_LOGITS,
    KL_DIV,
    *CLASS_LOSSES,
    *RANKINGS,
    CTC,
    MARGIN,
]
