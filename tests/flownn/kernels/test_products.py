"""Products of matrices: stacks times one matrix are one product."""

import numpy as np
import pytest

from flownn.kernels.products import matrix_product


@pytest.mark.parametrize("shape", [(5, 1, 7), (2, 3, 4, 7), (0, 3, 7), (2, 0, 7)])
@pytest.mark.parametrize("by_columns", [False, True])
def test_a_stack_times_a_matrix(shape: tuple[int, ...], by_columns: bool) -> None:
    rng = np.random.default_rng(0)
    x, y, bias = rng.standard_normal(shape), rng.standard_normal((7, 3)), rng.standard_normal(3)
    x = np.asfortranarray(x) if by_columns else x
    result = matrix_product.portable(np, x, y, bias)
    assert result.shape == (*shape[:-1], 3)
    np.testing.assert_allclose(result, np.einsum("...k,km->...m", x, y) + bias, rtol=1e-12, atol=1e-12)


def test_no_products_add_up_to_nothing() -> None:
    np.testing.assert_array_equal(matrix_product.portable(np, np.ones((2, 3, 0)), np.ones((0, 4))), np.zeros((2, 3, 4)))


def test_a_mistake_is_named_by_numpy() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        matrix_product.portable(np, np.ones((2, 3, 5)), np.ones((4, 2)))
