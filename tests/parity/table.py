"""All rows of the parity table."""

from tests.parity import (
    rows_activation,
    rows_conv,
    rows_documented,
    rows_holders,
    rows_loss,
    rows_misc,
    rows_norm,
    rows_pool,
)

FAMILIES = (
    rows_activation,
    rows_conv,
    rows_documented,
    rows_holders,
    rows_loss,
    rows_misc,
    rows_norm,
    rows_pool,
)
ROWS = [row for family in FAMILIES for row in family.ROWS]
