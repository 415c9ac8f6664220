"""Batches for other libraries; each module imports its library, and nothing imports the modules before they are used.

Every array of a batch can be taken without a copy by ``from_dlpack`` of PyTorch, JAX and others:
``torch.from_dlpack(batch["image"])``. What they make of it keeps the shared memory of the batch in use, also after the
batch and the loader are gone, and gives it back when it dies.
"""
