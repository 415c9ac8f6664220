"""The losses, each in one op so that no step overflows: one file per kind, and what they share in `reduction`."""
