"""The ops: forward and gradient together, one family a file."""
