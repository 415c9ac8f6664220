"""All rows of the parity table."""

from tests.parity import rows_activation, rows_conv, rows_documented, rows_holders, rows_loss, rows_misc, rows_norm, rows_pool
from tests.parity.spec import Row

ROWS: list[Row] = [*rows_conv.ROWS, *rows_pool.ROWS, *rows_norm.ROWS, *rows_activation.ROWS, *rows_loss.ROWS, *rows_misc.ROWS, *rows_holders.ROWS, *rows_documented.ROWS]
