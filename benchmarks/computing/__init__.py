"""Training steps, layers and single ops beside their peers: what `compute.py` and `ddp_step.py` are made of."""
