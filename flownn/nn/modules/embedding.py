"""Tables of learned vectors."""

from __future__ import annotations

from typing import Self

from flownn.errors import ShapeError
from flownn.nn import functional as F
from flownn.nn import init
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.tensor import Tensor

__all__ = ["Embedding"]


class Embedding(Module):
    """Look up learned vectors by number, for example those of words.

    Args:
        num_embeddings: Number of vectors V.
        embedding_dim: Size of each, D.
        padding_idx: Number of a vector that starts as zeros and is not trained; negative ones count from the end.
        max_norm: Whenever longer vectors are looked up, scale them down to this norm in ``weight`` itself. Ranks that
            look up other numbers then hold other weights.
        norm_type: Order of that norm; None means 2.
        scale_grad_by_freq: Divide the gradient of every vector by how often it occurs in the input.
        sparse: Not available.
        _weight: First values (V, D), whose memory is taken over; None draws them from the normal distribution.

    Shape:
        Input: integers of any shape (...); output (..., D). ``weight`` is (V, D).

    Raises:
        ShapeError: ``_weight`` has another shape.
        ValueError: sizes below 1, or a ``padding_idx`` that is not a vector.
        IndexError: a number in the input is not from 0 to V - 1.
        DtypeError: the input holds no integers.
        NotImplementedError: ``sparse`` is true.

    Reference:
        ``torch.nn.Embedding``; arguments and defaults as in ``oneflow.nn.Embedding``.

    >>> import flownn as flow
    >>> Embedding(10, 3, padding_idx=0)(flow.tensor([0, 0]))
    tensor([[0., 0., 0.],
            [0., 0., 0.]], dtype=flownn.float32, grad_fn=<embedding_backward>)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float | None = None,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        if sparse:
            raise NotImplementedError("Embedding: sparse=True is not available; gradients are dense")
        if min(num_embeddings, embedding_dim) < 1:
            raise ValueError(f"Embedding: expected positive sizes, got {num_embeddings} and {embedding_dim}")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"Embedding: expected a padding_idx from {-num_embeddings} to {num_embeddings - 1}, got {padding_idx}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = 2.0 if norm_type is None else norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            self.weight = empty_parameter(num_embeddings, embedding_dim)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"Embedding: expected a _weight of shape ({num_embeddings}, {embedding_dim}), "
                    f"got {tuple(_weight.shape)}"
                )
            self.weight = Parameter(_weight)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float | None = None,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """A layer over given vectors (V, D), whose memory it takes over.

        Args:
            embeddings: The vectors.
            freeze: Do not train them.
            padding_idx: As in the constructor, but its vector stays as it is. The others too.
            max_norm: As in the constructor.
            norm_type: As in the constructor.
            scale_grad_by_freq: As in the constructor.
            sparse: As in the constructor.

        Raises:
            ShapeError: ``embeddings`` does not have 2 dims.
        """
        if embeddings.data.ndim != 2:
            raise ShapeError(f"from_pretrained: expected embeddings (V, D), got shape {tuple(embeddings.data.shape)}")
        count, size = embeddings.data.shape
        layer = cls(count, size, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=embeddings)
        layer.weight.requires_grad = not freeze
        return layer

    def reset_parameters(self) -> None:
        """Draw the vectors from the normal distribution, and zero the one for padding."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.detach()[self.padding_idx])

    def forward(self, input: Tensor) -> Tensor:
        """Look up the numbers in ``input``."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    def extra_repr(self) -> str:
        """Both sizes, and what differs from the defaults."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        defaults = {"padding_idx": None, "max_norm": None, "norm_type": 2, "scale_grad_by_freq": False, "sparse": False}
        parts += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(parts)
