"""The same losses in PyTorch: text, names of the state, results, gradients, order of the functions' arguments."""

import inspect
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn import functional as F

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning"),
    pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated:UserWarning"),
]
torch = pytest.importorskip("torch", reason="compares with PyTorch")

RNG = np.random.default_rng(0)
SCORES, OTHERS, THIRD = RNG.standard_normal((3, 6, 4)) * 2
CHANCES, GOALS = RNG.uniform(0.05, 0.95, (2, 6, 4))
SIGNS = RNG.choice([-1.0, 1.0], (6, 4))
FACTORS = RNG.uniform(0.5, 2, 4)
CLASSES = RNG.integers(0, 4, 6)
IMAGES, PIXELS = RNG.standard_normal((3, 4, 2, 2)), RNG.integers(0, 4, (3, 2, 2))
LOGS = np.log(RNG.dirichlet(np.ones(4), (7, 3)))
WORDS, STEPS, LETTERS = np.array([[1, 2, 2], [3, 1, 0], [2, 0, 0]]), np.array([7, 5, 6]), np.array([3, 2, 0])

# (constructor in terms of nn, the factors `w` and the reduction `r`; what it is called with)
LOSSES: list[Any] = [
    ("L1Loss(reduction=r)", (SCORES, OTHERS)),
    ("MSELoss(reduction=r)", (SCORES, OTHERS)),
    ("SmoothL1Loss(reduction=r)", (SCORES, OTHERS)),
    ("SmoothL1Loss(reduction=r, beta=0.3)", (SCORES, OTHERS)),
    ("HuberLoss(r, 0.7)", (SCORES, OTHERS)),
    ("BCELoss(reduction=r)", (CHANCES, GOALS)),
    ("BCELoss(w, reduction=r)", (CHANCES, GOALS)),
    ("BCEWithLogitsLoss(reduction=r)", (SCORES, GOALS)),
    ("BCEWithLogitsLoss(w, reduction=r, pos_weight=w)", (SCORES, GOALS)),
    ("PoissonNLLLoss(reduction=r)", (SCORES, 4 * GOALS)),
    ("PoissonNLLLoss(False, True, eps=1e-3, reduction=r)", (CHANCES, 4 * GOALS)),
    ("KLDivLoss(reduction=r)", (SCORES, GOALS)),
    ("KLDivLoss(reduction=r, log_target=True)", (SCORES, OTHERS)),
    ("MarginRankingLoss(0.4, reduction=r)", (SCORES, OTHERS, SIGNS)),
    ("TripletMarginLoss(reduction=r)", (SCORES, OTHERS, THIRD)),
    ("TripletMarginLoss(2.0, 1, 1e-3, True, reduction=r)", (SCORES, OTHERS, THIRD)),
    ("CosineEmbeddingLoss(0.2, reduction=r)", (SCORES, OTHERS, SIGNS[:, 0])),
    ("CTCLoss(0, r, True)", (LOGS, WORDS, STEPS, LETTERS)),
    ("NLLLoss(w, ignore_index=2, reduction=r)", (IMAGES, PIXELS)),
    ("CrossEntropyLoss(w, ignore_index=2, reduction=r)", (IMAGES, PIXELS)),
    ("CrossEntropyLoss(w, reduction=r, label_smoothing=0.1)", (SCORES, CLASSES)),
    ("CrossEntropyLoss(w, reduction=r)", (SCORES, GOALS)),
]


def made(text: str, reduction: str) -> tuple[Any, Any]:
    """The loss here and there."""
    return (
        eval(f"nn.{text}", {"nn": nn, "r": reduction, "w": flow.tensor(FACTORS)}),
        eval(f"nn.{text}", {"nn": torch.nn, "r": reduction, "w": torch.tensor(FACTORS)}),
    )


def leaf(array: Any, library: Any) -> Any:
    return library.tensor(array, requires_grad=array.dtype.kind == "f")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("text", "arrays"), LOSSES, ids=[text for text, _ in LOSSES])
def test_text_state_results_and_gradients(text: str, arrays: Any, reduction: str) -> None:
    ours, theirs = made(text, reduction)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    inputs, peers = [leaf(each, flow) for each in arrays], [leaf(each, torch) for each in arrays]
    if "CTC" in text:  # PyTorch's gradient is right only for what goes through a log-softmax
        result, want = (each[0].log_softmax(-1) for each in (inputs, peers))
        result, want = ours(result, *inputs[1:]), theirs(want, *peers[1:])
    else:
        result, want = ours(*inputs), theirs(*peers)
    np.testing.assert_allclose(result.data, want.detach().numpy(), rtol=1e-10, atol=1e-12)
    seeds = np.random.default_rng(1).standard_normal(result.data.shape)
    result.backward(flow.tensor(seeds))
    want.backward(torch.tensor(seeds))
    for one, other in zip(inputs, peers, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if other.grad is not None:
            np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-8, atol=1e-11)


FUNCTIONS = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss",
    "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss", "nll_loss", "normalize", "poisson_nll_loss",
    "smooth_l1_loss", "triplet_margin_loss",
]  # fmt: skip
LEFT_OUT = {"l1_loss": ["weight"], "mse_loss": ["weight"], "huber_loss": ["weight"], "normalize": ["out"]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_same_arguments(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(library, name)).parameters for library in (F, torch.nn.functional))
    want = [(each.name, each.default) for each in theirs.values()]
    assert [(each.name, each.default) for each in ours.values()] == [
        (name_, default) for name_, default in want if name_ not in LEFT_OUT.get(name, [])
    ]


@pytest.mark.parametrize(
    ("size_average", "reduce"), [(None, False), (True, False), (False, None), (False, True), (True, None), (None, True)]
)
def test_older_arguments_decide_and_warn(size_average: Any, reduce: Any) -> None:
    x, y = CHANCES, GOALS
    for name in ("l1_loss", "kl_div", "binary_cross_entropy", "binary_cross_entropy_with_logits", "smooth_l1_loss"):
        with pytest.warns(DeprecationWarning, match=f"{name}: size_average and reduce are deprecated; use reduction="):
            ours = getattr(F, name)(flow.tensor(x), flow.tensor(y), size_average=size_average, reduce=reduce)
        theirs = getattr(torch.nn.functional, name)(
            torch.tensor(x), torch.tensor(y), size_average=size_average, reduce=reduce
        )
        np.testing.assert_allclose(ours.data, theirs.numpy(), rtol=1e-12)
    with pytest.warns(DeprecationWarning, match="TripletMarginLoss: size_average and reduce are deprecated"):
        loss = nn.TripletMarginLoss(size_average=size_average, reduce=reduce, reduction="sum")
    want = torch.nn.TripletMarginLoss(size_average=size_average, reduce=reduce, reduction="sum")
    assert loss.reduction == want.reduction
