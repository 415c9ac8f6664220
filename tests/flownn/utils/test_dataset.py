"""Data sets."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Letters(Dataset[str]):
    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, index: int) -> str:
        return self.text[index]

    def __len__(self) -> int:
        return len(self.text)


class Count(IterableDataset[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Any:
        return iter(range(self.n))

    def __len__(self) -> int:
        return self.n


def test_tensors() -> None:
    data = TensorDataset(flow.arange(6).reshape(3, 2), flow.tensor([5, 6, 7]))
    assert len(data) == 3
    x, y = data[-1]
    assert (x.tolist(), y.item()) == ([4, 5], 7)
    with pytest.raises(flow.ShapeError, match=r"same size in the first dim, got \(3,\), \(2, 1\)"):
        TensorDataset(flow.ones(3), flow.ones(2, 1))
    with pytest.raises(flow.ShapeError, match="got none"):
        TensorDataset()
    with pytest.raises(flow.ShapeError):
        TensorDataset(flow.ones(()))


def test_concatenation() -> None:
    data = Letters("ab") + Letters("") + Letters("cde")
    assert isinstance(data, ConcatDataset)
    assert "".join(data[i] for i in range(len(data))) == "abcde"
    assert [data[i] for i in (-1, -5)] == ["e", "a"]
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 5 samples"):
            data[index]
    with pytest.raises(ValueError, match="at least one data set"):
        ConcatDataset([])
    with pytest.raises(ValueError, match="use ChainDataset"):
        ConcatDataset([Count(3)])


def test_chain() -> None:
    chain = Count(2) + Count(3)
    assert isinstance(chain, ChainDataset)
    assert list(chain) == list(chain) == [0, 1, 0, 1, 2]
    assert len(chain) == 5


def test_subset_of_a_subset_and_many_at_once() -> None:
    class Many(Letters):
        def __getitems__(self, keys: list[int]) -> list[str]:
            return [f"{self.text[key]}!" for key in keys]

    part = Subset(Subset(Letters("abcdef"), [5, 3, 1]), [2, 0])
    assert [part[0], part[1], len(part)] == ["b", "f", 2]
    assert part.__getitems__([1, 0]) == ["f", "b"]
    assert Subset(Many("abcdef"), [5, 3]).__getitems__([1, 0]) == ["d!", "f!"]


def test_random_split() -> None:
    parts = random_split(Letters("abcdefghij"), [3, 7], flow.Generator(1))
    assert [len(part) for part in parts] == [3, 7]
    assert sorted(part[i] for part in parts for i in range(len(part))) == list("abcdefghij")
    again = random_split(Letters("abcdefghij"), [3, 7], flow.Generator(1))
    assert [part.indices for part in again] == [part.indices for part in parts]
    assert [part.indices for part in random_split(Letters("abcdefghij"), [3, 7], flow.Generator(2))] != [
        part.indices for part in parts
    ]
    with pytest.raises(ValueError, match=r"expected lengths that add up to 3, got \[1, 1\]"):
        random_split("abc", [1, 1])
    with pytest.raises(ValueError, match="expected fractions that add up to 1"):
        random_split("abc", [0.5, 0.4])


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Length of split:UserWarning")
@pytest.mark.parametrize("fractions", [[0.5, 0.5], [0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3], [1.0]])
def test_fractions_as_in_pytorch(fractions: list[float]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for n in (1, 10, 11, 50):
        theirs = torch.utils.data.random_split(range(n), fractions)
        assert [len(part) for part in random_split(range(n), fractions)] == [len(part) for part in theirs]


def test_undefined_methods_are_named() -> None:
    with pytest.raises(NotImplementedError, match=r"Dataset: define __getitem__\(\)"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match=r"IterableDataset: define __iter__\(\)"):
        iter(IterableDataset())
    np.testing.assert_array_equal(TensorDataset(flow.ones(2))[[0, 1]][0].data, [1, 1])
