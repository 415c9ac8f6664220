"""Masks as bits."""

import numpy as np
import pytest

from flownn.kernels.bits import pack, unpack


@pytest.mark.parametrize("shape", [(), (1,), (13,), (2, 3, 5, 7), (4, 0, 2), (3, 1, 8)])
def test_a_mask_comes_back_with_its_layout(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    mask = np.asarray(rng.random(shape) < 0.5)
    orders = {tuple(range(len(shape))), tuple(reversed(range(len(shape)))), (*range(1, len(shape)), 0)[: len(shape)]}
    for order in orders:
        laid = (
            np.ascontiguousarray(mask.transpose(order)).reshape([shape[a] for a in order]).transpose(np.argsort(order))
        )
        packed = pack(np, laid)
        assert packed.bits.nbytes == -(-mask.size // 8)
        back = unpack(np, packed)
        np.testing.assert_array_equal(back, mask)
        if mask.size > 1 and 1 not in shape:
            assert back.strides == laid.strides
