"""Every update rule with options that reach its branches."""

from __future__ import annotations

from typing import Any

RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr_decay": 0.3, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"alpha": 0.8, "momentum": 0.9, "centered": True, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"eps": 1e-3, "momentum": 0.5}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
]
LAMB: list[tuple[str, dict[str, Any]]] = [
    ("LAMB", {"lr": 0.1}),
    ("LAMB", {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.95), "eps": 1e-3}),
    ("LAMB", {"lr": 0.1, "weight_decay": 0.2, "adam_w_mode": False, "maximize": True}),
    ("LAMB", {"lr": 0.1, "weight_decay": 0.2, "do_bias_correction": False}),
]


def named(rule: Any) -> str:
    return f"{rule[0]}-{'-'.join(f'{k}={v}' for k, v in rule[1].items())}".replace(" ", "")
