"""What is known of GPUs here."""

from flownn.backend import device_count, is_available, synchronize

__all__ = ["device_count", "is_available", "synchronize"]
