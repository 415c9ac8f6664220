"""Attention row by row, in blocks of any size, and against PyTorch."""

import math
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.ops import attention
from flownn.random import Generator
from tests.helpers.op_cases import OpCase, asked, bools, normal


def slow_weights(query: Any, key: Any, mask: Any = None, *, is_causal: bool = False, scale: float | None = None) -> Any:
    lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    query, key = (np.broadcast_to(each, (*lead, *each.shape[-2:])) for each in (query, key))
    weights = np.zeros((*lead, query.shape[-2], key.shape[-2]))
    mask = None if mask is None else np.broadcast_to(mask, weights.shape)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    for place in np.ndindex(*weights.shape[:-1]):
        *matrix, row = place
        scores = np.array([scale * float(query[place] @ other) for other in key[tuple(matrix)]])
        for column in range(len(scores)):
            if is_causal and column > row:
                scores[column] = -np.inf
            if mask is not None:
                allowed = mask[place][column]
                scores[column] = scores[column] if allowed is np.True_ else -np.inf if allowed is np.False_ else (
                    scores[column] + allowed
                )  # fmt: skip
        if len(scores) and scores.max() > -np.inf:
            weights[place] = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    return weights


def slow_attention(query: Any, key: Any, value: Any, mask: Any = None, **attrs: Any) -> Any:
    return slow_weights(query, key, mask, **attrs) @ value


def hides_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """True and false, with some rows all false."""
    return bools(rng, shape) & (rng.random((*shape[:-1], 1)) < 0.7)


def hides_by_infinity(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return np.where(bools(rng, shape), rng.standard_normal(shape), -np.inf)


def torch_attention(torch: Any, *tensors: Any, **attrs: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(*tensors, **attrs)


SHAPES: list[tuple[Any, Any]] = [
    ([(2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2)], {}),
    ([(4, 5), (6, 5), (6, 3)], {"scale": 0.3}),
    ([(3, 5, 4), (3, 5, 4), (3, 5, 4)], {"is_causal": True}),
    ([(2, 7, 4), (2, 3, 4), (2, 3, 4)], {"is_causal": True}),
    ([(2, 3, 4), (2, 7, 4), (2, 7, 4)], {"is_causal": True}),
    ([(2, 1, 4, 5), (3, 6, 5), (1, 3, 6, 2)], {}),
    ([(0, 4, 5), (0, 6, 5), (0, 6, 2)], {}),
    ([(2, 0, 5), (2, 6, 5), (2, 6, 2)], {}),
]
MASKED = [(2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2)]
MASKS = [
    *(((2, 3, 4, 6), normal), ((4, 6), normal), ((2, 1, 1, 6), normal), ((3, 4, 6), normal), ((6,), normal)),
    *(((2, 3, 4, 6), hides_rows), ((4, 6), hides_rows), ((2, 1, 4, 1), hides_rows), ((6,), bools)),
]
LOOSE = {"float16": 1e-2, "float32": 2e-5}

CASES = [
    *(
        OpCase(attention.scaled_dot_product_attention, shapes, attrs, slow_attention, torch=torch_attention, rtol=LOOSE)
        for shapes, attrs in SHAPES
    ),
    *(
        OpCase(attention.scaled_dot_product_attention, [*MASKED, mask], {}, slow_attention, rtol=LOOSE,
               sample=[normal, normal, normal, sample], torch=torch_attention if len(mask) > 1 else None,
               name=f"masked-{mask}-{sample.__name__}")
        for mask, sample in MASKS
    ),
    *(
        OpCase(attention.attention_weights, shapes[:2], attrs, slow_weights, rtol=LOOSE) for shapes, attrs in SHAPES
    ),
    *(
        OpCase(attention.attention_weights, [*MASKED[:2], mask], {}, slow_weights, rtol=LOOSE,
               sample=[normal, normal, sample], name=f"weights-{mask}-{sample.__name__}")
        for mask, sample in MASKS
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def with_dropout(query: Any, key: Any, value: Any, mask: Any, *, seed: int, p: float) -> Any:
    return attention.scaled_dot_product_attention(query, key, value, mask, dropout_p=p, generator=Generator(seed))


def slow_dropout(query: Any, key: Any, value: Any, mask: Any, *, seed: int, p: float) -> Any:
    weights = slow_weights(query, key, mask)
    stream = Generator(int(Generator(seed).integers(0, 1 << 62, ())))
    return weights * (stream.uniform(weights.shape, np.dtype(np.float32)) >= p) / (1 - p) @ value


DROPPING = [
    OpCase(with_dropout, [*MASKED, (4, 6)], {"seed": 5, "p": 0.4}, slow_dropout, sample=[normal] * 3 + [sample],
           rtol=LOOSE, name=f"dropout-{sample.__name__}")
    for sample in (normal, hides_rows)
]  # fmt: skip


@pytest.mark.parametrize("elements", [1, 7, 13, 24, 50, 1000])
@pytest.mark.parametrize(("case", "question"), asked([*CASES[:3], *CASES[8:10], CASES[14], *DROPPING]))
def test_blocks_of_any_size(
    case: OpCase, question: Any, elements: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", elements)
    question(case, rng)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("elements", [1, 24, 1000])
@pytest.mark.parametrize(("case", "question"), asked([case for case in CASES if case.attrs.get("is_causal")]))
def test_causal_blocks_leave_out_what_no_row_sees(
    case: OpCase, question: Any, rows: int, elements: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "CAUSAL_ROWS", rows)
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", elements)
    question(case, rng)


def test_scores_far_apart_in_one_block(rng: np.random.Generator) -> None:
    """Rows whose largest score is far below that of others are as exact as alone."""
    query, key, value = (rng.standard_normal((2, 6, 4)).astype(np.float32) for _ in range(3))
    query *= np.array([1, 300, 0.1, -300, 1, 30], np.float32)[:, None]
    for is_causal in (False, True):
        y = attention.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
        exact = slow_attention(*(each.astype(np.float64) for each in (query, key, value)), is_causal=is_causal)
        np.testing.assert_allclose(y.data, exact, atol=1e-4)


@pytest.mark.parametrize("sample", [hides_rows, hides_by_infinity])
def test_a_row_without_keys_gives_zeros_and_zero_gradients(sample: Any, rng: np.random.Generator) -> None:
    query, key, value = (flow.tensor(rng.standard_normal(shape), requires_grad=True) for shape in MASKED)
    mask = np.ones((4, 6), bool)
    mask[2] = False
    given = mask if sample is hides_rows else np.where(mask, 0.0, -np.inf)
    for y in (
        attention.scaled_dot_product_attention(query, key, value, flow.tensor(given)),
        attention.attention_weights(query, key, flow.tensor(given)) @ value,
    ):
        query.grad = None
        y.backward(flow.ones(*y.shape, dtype=y.dtype))
        assert not y.data[:, :, 2].any()
        assert not query.grad.data[:, :, 2].any()
        assert np.isfinite(query.grad.data).all()
        np.testing.assert_allclose(y.data, slow_attention(query.data, key.data, value.data, given), atol=1e-12)


def test_without_keys_nothing_is_mixed() -> None:
    query = flow.ones(2, 4, 5, requires_grad=True)
    y = attention.scaled_dot_product_attention(query, flow.ones(2, 0, 5), flow.ones(2, 0, 3))
    assert y.shape == (2, 4, 3)
    assert not y.data.any()
    y.sum().backward()
    assert not query.grad.data.any()
    assert attention.attention_weights(query, flow.ones(2, 0, 5)).shape == (2, 4, 0)


def test_bfloat16_is_computed_in_float32(rng: np.random.Generator) -> None:
    arrays = [rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in MASKED]
    y = attention.scaled_dot_product_attention(*map(flow.from_numpy, arrays)).data
    wide = attention.scaled_dot_product_attention(*(flow.tensor(each.astype(np.float32)) for each in arrays)).data
    assert y.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y, wide.astype(ml_dtypes.bfloat16))


def test_all_dropped() -> None:
    x = flow.ones(2, 3, 4, requires_grad=True)
    y = attention.scaled_dot_product_attention(x, x, x, dropout_p=1.0, generator=Generator(0))
    y.sum().backward()
    assert not y.data.any()
    assert not x.grad.data.any()


def test_scores_are_never_all_in_memory() -> None:
    positions, heads = 1500, 8
    x = flow.ones(heads, positions, 8, requires_grad=True)
    tracemalloc.start()
    try:
        attention.scaled_dot_product_attention(x, x, x, is_causal=True).sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < heads * positions * positions * 4 / 2


def test_what_does_not_fit_is_named() -> None:
    x = flow.ones(2, 3, 4)
    call = attention.scaled_dot_product_attention
    with pytest.raises(ShapeError, match=r"expected query \(..., L, E\).*got \(2, 3, 4\), \(2, 3, 5\), \(2, 3, 4\)"):
        call(x, flow.ones(2, 3, 5), x)
    with pytest.raises(ShapeError, match=r"value \(..., S, V\), got \(2, 3, 4\), \(2, 3, 4\), \(2, 5, 4\)"):
        call(x, x, flow.ones(2, 5, 4))
    with pytest.raises(ShapeError, match="expected query"):
        call(flow.ones(4), x, x)
    with pytest.raises(ShapeError, match="leading dims that broadcast"):
        call(x, flow.ones(3, 3, 4), x)
    with pytest.raises(ShapeError, match=r"attn_mask that broadcasts to \(2, 3, 3\), got \(3, 2\)"):
        call(x, x, x, flow.ones(3, 2))
    with pytest.raises(ShapeError, match=r"attn_mask that broadcasts to \(2, 3, 3\), got \(4, 2, 3, 3\)"):
        call(x, x, x, flow.ones(4, 2, 3, 3))
    with pytest.raises(DtypeError, match="boolean or floating point attn_mask, got int64"):
        call(x, x, x, flow.ones(3, 3, dtype=flow.int64))
    with pytest.raises(DtypeError, match="value of one type, got float32, float64, float32"):
        call(x, x.double(), x)
    with pytest.raises(DtypeError, match="expected a floating point input, got int64"):
        call(x.long(), x.long(), x.long())
    with pytest.raises(ValueError, match="attn_mask or is_causal, got both"):
        call(x, x, x, flow.ones(3, 3), is_causal=True)
    with pytest.raises(ValueError, match=r"a probability dropout_p and a generator for it, got 1\.5"):
        call(x, x, x, dropout_p=1.5, generator=Generator(0))
    with pytest.raises(ValueError, match=r"a generator for it, got 0\.5"):
        call(x, x, x, dropout_p=0.5)
