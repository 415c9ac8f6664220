"""Arguments of the wrong type are named when a layer is made."""

import copy
import pickle

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Linear('4', 3)", "Linear: expected in_features as an int, got '4'"),
        ("Linear(4, out_features=2.5)", "Linear: expected out_features as an int, got 2.5"),
        ("Conv2d(3, 4, 3, groups=2.0)", "Conv2d: expected groups as an int, got 2.0"),
        ("Conv2d(3, 4, 3, bias='no')", "Conv2d: expected bias as True or False, got 'no'"),
        ("BatchNorm2d(4, momentum='x')", "BatchNorm2d: expected momentum as a number, got 'x'"),
        ("BatchNorm2d(4, eps=None)", "BatchNorm2d: expected eps as a number, got None"),
        ("ELU(object)", "ELU: expected alpha as a number, got <class 'object'>"),
    ],
)
def test_wrong_types(text: str, message: str) -> None:
    with pytest.raises(DtypeError) as caught:
        eval(f"nn.{text}", {"nn": nn})
    assert str(caught.value) == message


def test_everything_that_counts_as_one() -> None:
    layer = nn.Linear(np.int64(4), np.uint8(3), np.bool_(True))
    assert layer(flow.ones(2, 4)).shape == (2, 3)
    assert nn.ELU(np.float32(0.5))(flow.zeros(1)).item() == 0
    assert nn.BatchNorm2d(4, momentum=None).momentum is None
    assert nn.Softplus(2, 1)(flow.tensor([3.0])).item() == 3


def test_a_users_class_takes_what_it_likes() -> None:
    class Named(nn.Linear):
        def __init__(self, size: int) -> None:
            super().__init__(int(size), 2)

    assert Named("3").in_features == 3  # type: ignore[arg-type]


def test_modules_are_copied_and_pickled() -> None:
    layer = nn.Conv2d(2, 3, 1)
    for again in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(again.weight.data, layer.weight.data)
