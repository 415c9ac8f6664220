"""Helpers beside the layers: `flownn.utils.data`, data sets and loaders as in PyTorch."""

from flownn.utils import data

__all__ = ["data"]
