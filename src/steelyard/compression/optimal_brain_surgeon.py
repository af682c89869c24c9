"""Optimal Brain Surgeon where curvature is a Kronecker product: what removals cost, and what makes up for them.

Around trained weights W (r, c) the loss rises by 1/2 vec(D)' F vec(D) for a change D. With F = G (x) A, where G
(r, r) belongs to the rows (outputs) and A (c, c) to the columns (inputs), that is 1/2 trace(G D A D'). Removing
weights forces their D to -W; the remaining D are free, and the least loss over them is the cost of the removal.
Everything here is exact for such an F: no (rc, rc) matrix is ever formed.

Source: The LLM Surgeon, sections 3.2 to 3.4; Optimal Brain Surgeon and General Network Pruning (Hassibi and others
1993) for the problem being solved.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from steelyard.errors import ModelError

LEAST_DAMPING = 1e-30
"""Added to the diagonal of a factor that is all zero, so that what it belongs to costs nothing and is no error."""


def damped(factor: torch.Tensor, damping: float) -> torch.Tensor:
    """``factor`` (n, n) in float64 with ``damping`` times its mean diagonal added to the diagonal."""
    amount = max(damping * float(factor.diagonal().double().mean()), LEAST_DAMPING)
    return factor.double() + amount * torch.eye(len(factor), dtype=torch.float64, device=factor.device)


def inverse(factor: torch.Tensor) -> torch.Tensor:
    """The inverse of a positive definite ``factor`` (n, n)."""
    return torch.cholesky_inverse(_cholesky(factor))


def curvature_left(factor: torch.Tensor) -> torch.Tensor:
    """Curvature (n,) along each coordinate once all others have moved to their best: 1 / diag(inverse(factor)).

    Never more than the diagonal, which is the curvature while the others stay where they are.

    >>> curvature_left(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([1.5000, 1.5000])
    """
    return 1 / inverse(factor).diagonal()


def element_costs(weight: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Cost (r, c) of removing single weights: 1/2 w_ij^2 g_i a_j, for curvatures g of rows and a of columns."""
    return weight.square() * torch.outer(rows, columns) / 2


def row_costs(weight: torch.Tensor, inputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Cost (r,) of removing whole rows: 1/2 g_i (W A W')_ii, for ``inputs`` A and curvatures g of rows."""
    return ((weight @ inputs) * weight).sum(1) * rows / 2


def column_costs(weight: torch.Tensor, outputs: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Cost (c,) of removing whole columns: 1/2 a_j (W' G W)_jj, for ``outputs`` G and curvatures a of columns."""
    return row_costs(weight.T, outputs, columns)


def remove_rows_and_columns(
    weight: torch.Tensor,
    outputs: torch.Tensor,
    inputs: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
) -> torch.Tensor:
    """The weights (r, c) of least loss among those with these rows and columns zero (boolean masks (r,), (c,)).

    Rows are taken up by the rows that stay, W_k += inverse(G_kk) G_kr W_r, where A cancels; then columns likewise.
    One after the other is the joint optimum: once rows are gone, curvature on the rest is again a Kronecker
    product with the same A.
    """
    without_rows = _taken_up(weight, outputs, rows)
    return _taken_up(without_rows.T, inputs, columns).T


def remove_elements(
    weight: torch.Tensor,
    outputs: torch.Tensor,
    inputs: torch.Tensor,
    removed: torch.Tensor,
    *,
    joint: int = 0,
) -> torch.Tensor:
    """The weights (r, c) of least loss among those zero where ``removed`` (r, c) is true.

    With Q the removed positions, D = -inverse(G) M inverse(A), where M is zero outside Q and there solves
    (inverse(G)[Qr, Qr] * inverse(A)[Qc, Qc]) m = w_Q. That system has the size of Q, so with ``joint`` above zero
    whole rows are taken together up to that many weights, one group after the other on the weights as updated so
    far; what later groups move in earlier ones is set back to zero at the end. ``joint`` 0 solves for all at once.
    """
    rows_inverse, columns_inverse = inverse(outputs), inverse(inputs)
    updated = weight.clone()
    for rows in row_groups(removed.sum(1).tolist(), joint):
        i, j = removed[rows].nonzero(as_tuple=True)
        absolute = i + rows.start
        coupling = rows_inverse[absolute][:, absolute] * columns_inverse[j][:, j]
        multipliers = torch.zeros_like(weight[rows])
        solution = torch.cholesky_solve(updated[absolute, j][:, None], _cholesky(coupling))
        multipliers[i, j] = solution[:, 0]
        updated -= rows_inverse[:, rows] @ (multipliers @ columns_inverse)
    updated[removed] = 0
    return updated


def row_groups(counts: list[int], limit: int) -> Iterator[slice]:
    """Consecutive rows that together lose at most ``limit`` weights; one row alone may lose more. 0: no limit.

    >>> [(rows.start, rows.stop) for rows in row_groups([2, 1, 0, 5, 1], 3)]
    [(0, 3), (3, 4), (4, 5)]
    """
    start = total = 0
    for row, count in enumerate(counts):
        if total and limit and total + count > limit:
            yield slice(start, row)
            start, total = row, 0
        total += count
    if total:
        yield slice(start, len(counts))


def _taken_up(weight: torch.Tensor, factor: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    """``weight`` (n, m) with its ``removed`` rows zero, and the others making up for them under ``factor``."""
    kept = ~removed
    if kept.all():
        return weight
    result = torch.zeros_like(weight)
    if kept.any():
        pull = factor[kept][:, removed] @ weight[removed]
        result[kept] = weight[kept] + torch.cholesky_solve(pull, _cholesky(factor[kept][:, kept]))
    return result


def _cholesky(factor: torch.Tensor) -> torch.Tensor:
    lower: torch.Tensor
    lower, failed = torch.linalg.cholesky_ex(factor)
    if int(failed):
        raise ModelError(
            f"curvature of size {len(factor)} is singular in floating-point arithmetic: raise damping, or give "
            "more calibration text"
        )
    return lower
