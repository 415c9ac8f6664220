"""The YAML trainer: a recipe, any number of ranks, one run directory.

A few hundred lines on purpose. What it cannot do, ``examples/train.py`` shows how to write with the libraries.
"""
