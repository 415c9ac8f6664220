"""What losses do beyond what PyTorch shows: functions and modules alike, wrong arguments, buffers, warnings."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn import functional as F

WRONG_ARGUMENTS = [
    ("L1Loss('avg')", "L1Loss: expected a reduction of none, mean, sum, got 'avg'"),
    ("MSELoss('batchmean')", "MSELoss: expected a reduction of none, mean, sum, got 'batchmean'"),
    ("KLDivLoss('avg')", "KLDivLoss: expected a reduction of none, mean, sum, batchmean, got 'avg'"),
    ("CTCLoss(reduction='avg')", "CTCLoss: expected a reduction of none, mean, sum, got 'avg'"),
    ("BCELoss(reduction=None)", "BCELoss: expected a reduction of none, mean, sum, got None"),
    ("TripletMarginLoss(margin=0)", "TripletMarginLoss: expected a margin above 0, got 0"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_ARGUMENTS, ids=[text for text, _ in WRONG_ARGUMENTS])
def test_wrong_arguments_are_named_when_the_loss_is_made(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eval(f"nn.{text}", {"nn": nn})


# (call of the function, the same as a module)
CALLS = [
    ("l1_loss(x, y, reduction='sum')", "L1Loss('sum')(x, y)"),
    ("mse_loss(x, y)", "MSELoss()(x, y)"),
    ("smooth_l1_loss(x, y, beta=0.5)", "SmoothL1Loss(beta=0.5)(x, y)"),
    ("huber_loss(x, y, 'none', 0.5)", "HuberLoss('none', 0.5)(x, y)"),
    ("binary_cross_entropy(p, q, w)", "BCELoss(w)(p, q)"),
    ("binary_cross_entropy_with_logits(x, q, w, pos_weight=w)", "BCEWithLogitsLoss(w, pos_weight=w)(x, q)"),
    ("poisson_nll_loss(p, q, False, True)", "PoissonNLLLoss(False, True)(p, q)"),
    ("kl_div(x, q, reduction='batchmean')", "KLDivLoss('batchmean')(x, q)"),
    ("kl_div(x, y, log_target=True)", "KLDivLoss(log_target=True)(x, y)"),
    ("margin_ranking_loss(x, y, s, 0.5)", "MarginRankingLoss(0.5)(x, y, s)"),
    ("triplet_margin_loss(x, y, s, 2.0, 1, 1e-3, True)", "TripletMarginLoss(2.0, 1, 1e-3, True)(x, y, s)"),
    ("cosine_embedding_loss(x, y, s[:, 0], 0.2)", "CosineEmbeddingLoss(0.2)(x, y, s[:, 0])"),
    ("ctc_loss(t, c, (5, 5), (2, 2), 1, 'none', True)", "CTCLoss(1, 'none', True)(t, c, (5, 5), (2, 2))"),
    ("nll_loss(x, k, w, None, 1, None, 'sum')", "NLLLoss(w, 1, 'sum')(x, k)"),
    ("cross_entropy(x, k, w, None, 1, None, 'sum', 0.1)", "CrossEntropyLoss(w, 1, 'sum', label_smoothing=0.1)(x, k)"),
]


@pytest.mark.parametrize(("call", "module"), CALLS, ids=[call for call, _ in CALLS])
def test_functions_do_what_the_modules_do(call: str, module: str) -> None:
    names = {
        "x": flow.randn(4, 3),
        "y": flow.randn(4, 3),
        "p": flow.rand(4, 3),
        "q": flow.rand(4, 3),
        "w": flow.rand(3),
        "s": flow.ones(4, 3),
        "k": flow.tensor([0, 2, 1, 0]),
        "t": flow.randn(5, 2, 3),
        "c": flow.tensor([[0, 2], [2, 2]]),
    }
    ours, theirs = eval(f"F.{call}", names | {"F": F}), eval(f"nn.{module}", names | {"nn": nn})
    np.testing.assert_array_equal(ours.data, theirs.data)


def test_distances_have_pytorchs_defaults() -> None:
    x, y = flow.tensor([[3.0, 4.0], [0.0, 0.0]]), flow.tensor([[0.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(F.pairwise_distance(x, y).data, [5, 5], rtol=1e-6)
    np.testing.assert_allclose(F.pairwise_distance(x, y, 1, 0, True).data, [[7], [5]], rtol=1e-6)
    np.testing.assert_allclose(F.cosine_similarity(x, x).data, [1, 0], rtol=1e-6)
    np.testing.assert_allclose(F.cosine_similarity(x, y, dim=0).data, [0, 0])
    np.testing.assert_allclose(F.normalize(x).data, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(F.normalize(x, float("inf"), 0).data, [[1, 1], [0, 0]])


def test_factors_are_buffers() -> None:
    loss = nn.BCEWithLogitsLoss(flow.ones(3), pos_weight=flow.ones(3)).double()
    assert loss.weight is not None
    assert loss.pos_weight is not None
    assert loss.weight.dtype == loss.pos_weight.dtype == flow.float64
    assert list(loss.parameters()) == []
    assert list(nn.BCELoss().state_dict()) == []


@pytest.mark.parametrize("loss", [F.mse_loss, nn.MSELoss()])
def test_the_warning_about_shapes_points_at_the_caller(loss: Any) -> None:
    with pytest.warns(UserWarning, match="differ in shape") as caught:
        loss(flow.zeros(3, 1), flow.zeros(3))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("call", ["F.l1_loss(x, x, reduce=False)", "nn.TripletMarginLoss(reduce=False)"])
def test_the_warning_about_older_arguments_points_at_the_caller(call: str) -> None:
    with pytest.warns(DeprecationWarning, match="use reduction='none'") as caught:
        eval(compile(call, "caller.py", "eval"), {"F": F, "nn": nn, "x": flow.zeros(3)})
    assert caught[0].filename == "caller.py"


def test_combined_margin_prints_its_margins_and_trains() -> None:
    margin = nn.CombinedMarginLoss(1.0, 0.5, 0.1)
    assert repr(margin) == "CombinedMarginLoss(m1=1.0, m2=0.5, m3=0.1)"
    features = flow.randn(8, 5, requires_grad=True)
    cosines = F.normalize(features) @ F.normalize(flow.randn(3, 5)).T
    label = flow.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    harder = nn.CrossEntropyLoss()(margin(cosines, label) * 10, label)
    assert harder.item() > nn.CrossEntropyLoss()(cosines * 10, label).item()
    harder.backward()
    assert features.grad is not None
    assert np.isfinite(features.grad.data).all()
