"""The same work as other libraries do it, each in a process of its own, started by ``python -m``."""
