"""What a layer-wise method learns of a matrix's inputs, accumulated batch by batch.

A method is handed a :class:`Hessian`: what it needs of the inputs, of a size that does not grow with their number.

    hessian = Hessian(width=576)
    hessian.add(inputs)                     # (..., 576), as often as there are batches
    hessian.matrix()                        # (576, 576): the mean of x x^T
"""

from __future__ import annotations

from typing import Any

import torch

from steelyard.errors import ModelError


class Hessian:
    """The mean of x x^T over the inputs x of a matrix, which is half the Hessian of its squared output error.

    Sums are kept in ``dtype``: float32 (as the published methods have them) or float64. Matrices that are called
    with the same tensor (q, k and v) share one, and so what is derived from it.

    Attributes:
        width: inputs of the matrix.
        rows: inputs seen.
    """

    def __init__(self, width: int, dtype: torch.dtype = torch.float32, device: Any = None) -> None:
        self.width = width
        self.rows = 0
        self._sum = torch.zeros(width, width, dtype=dtype, device=device)
        self._factors: dict[float, torch.Tensor] = {}

    def add(self, inputs: torch.Tensor) -> None:
        """Take in inputs (..., width)."""
        rows = inputs.detach().reshape(-1, self.width).to(self._sum.dtype)
        self._sum.addmm_(rows.t(), rows)
        self.rows += len(rows)
        self._factors.clear()

    def matrix(self) -> torch.Tensor:
        """The mean of x x^T: (width, width); the identity where nothing was seen, so that inputs count alike."""
        if not self.rows:
            return torch.eye(self.width, dtype=self._sum.dtype, device=self._sum.device)
        return self._sum / self.rows

    @property
    def finite(self) -> bool:
        """Whether all inputs were numbers whose squares are numbers."""
        return bool(torch.isfinite(self._sum.diagonal()).all())

    @property
    def dead(self) -> torch.Tensor:
        """Which inputs were never anything but 0: bool (width,); none where nothing was seen."""
        return (self._sum.diagonal() == 0) & (self.rows > 0)

    @property
    def _metric(self) -> torch.Tensor | None:
        return self._sum if self.rows else None

    def inverse_factor(self, damping: float = 0.01) -> torch.Tensor:
        """The upper triangular U with U^T U = (H + d I)^-1, d being ``damping`` times the mean of H's diagonal.

        Computed once for all matrices that share these inputs. See :func:`inverse_factor`.
        """
        if damping not in self._factors:
            self._factors[damping] = inverse_factor(self.matrix(), damping)
        return self._factors[damping]

    def error(self, weight: torch.Tensor, new: torch.Tensor) -> float:
        """|(W - W') X|^2 / |W X|^2: the share of the outputs' energy that (out, in) ``new`` gets wrong."""
        weight, new = weight.to(self._sum.dtype), new.to(self._sum.dtype)
        lost, whole = _energy(weight - new, self._metric), _energy(weight, self._metric)
        return lost / whole if whole > 0 else 0.0


def inverse_factor(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """The upper triangular U with U^T U = (H + d I)^-1 and a positive diagonal; d = ``damping`` * mean(diag H).

    U is the Cholesky factor (upper) of the inverse. It is found without forming the inverse: reversing rows and
    columns of H turns its lower factor into V upper with H = V V^T, and U = V^-1. Row j of U, divided by its first
    entry, is how an error in column j is best made up for by the columns after it, and 1 / U_jj^2 the price of
    removing column j once those before it are settled. An input that is always 0 counts as one of variance 1.

    Where float32 is not enough, float64 is tried. Raises :class:`ModelError` where the matrix is not positive
    definite.

    >>> h = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> u = inverse_factor(h, 0.0)
    >>> torch.allclose(u.T @ u, torch.linalg.inv(h))
    True
    """
    h = hessian.clone()
    diagonal = h.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += damping * diagonal.mean()
    for dtype in dict.fromkeys((h.dtype, torch.float64)):
        lower, failed = torch.linalg.cholesky_ex(h.to(dtype).flip(0, 1))
        if not int(failed):
            upper = lower.flip(0, 1)
            identity = torch.eye(len(h), dtype=dtype, device=h.device)
            inverse: torch.Tensor = torch.linalg.solve_triangular(upper, identity, upper=True)
            return inverse.to(h.dtype)
    raise ModelError(
        f"the inputs of a layer of width {len(h)} do not determine its weights even with damping {damping}; "
        "raise damping, or give more calibration text"
    )


def _energy(weight: torch.Tensor, matrix: torch.Tensor | None) -> float:
    seen = weight if matrix is None else weight @ matrix
    return float((seen * weight).sum(dtype=torch.float64))
