"""Helpers around parameters."""

from flownn.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_, get_total_norm
from flownn.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from flownn.nn.utils.weight_normalization import remove_weight_norm, weight_norm

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "parameters_to_vector",
    "remove_weight_norm",
    "vector_to_parameters",
    "weight_norm",
]
