"""A neural process over the prompts of a benchmark: from some scores of a model to a prediction of all others.

A model is a function from prompts to scores, drawn from a distribution that earlier models show. A latent
variable z stands for what sets one model apart:

    p(y | x, C) = integral of p(y | x, z) q(z | C) dz,    C = {(x_i, y_i)} the scores observed
    q(z | C) = N(mu, sigma^2) of the mean of h(x_i, y_i) over C and of how many there are
    p(y = 1 | x, z) = sigmoid(a(x) + b(x) . z)

h, a and b are small networks. They are trained on earlier models by the evidence lower bound with random observed
subsets C of all scores D:

    E_q(z | D) log p(y_D | x_D, z) - KL(q(z | D) || q(z | C))

Source: Active Evaluation Acquisition for Efficient LLM Benchmarking, its section on modelling dependencies; the
bound is that of Garnelo et al., "Neural Processes", equation 9. The decoder is linear in z, which makes it a
multidimensional item response model whose items are read from x: with some dozens of earlier models a free
network of (x, z) overfits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steelyard.evaluation.acquisition.score_cells import Scores


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Sizes and training: ``steps`` of Adam, each on ``rows`` earlier models with an observed subset each."""

    latent: int = 4
    hidden: int = 48
    steps: int = 200
    rows: int = 32
    rate: float = 3e-3
    decay: float = 1e-2


class NeuralProcess(nn.Module):
    """The networks, around the fixed ``features`` (prompts, width) of a benchmark's prompts."""

    features: Tensor

    def __init__(self, features: Tensor, latent: int, hidden: int) -> None:
        super().__init__()
        width = features.shape[1]
        self.register_buffer("features", features)
        self.pairs = nn.Sequential(nn.Linear(width + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.posterior = nn.Sequential(nn.Linear(hidden + 1, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent))
        self.items = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, latent + 1))

    def encode(self, scores: Tensor, observed: Tensor) -> torch.distributions.Normal:
        """q(z | observed) for each row of ``scores`` (rows, prompts); ``observed`` is 1 where seen."""
        known = torch.where(observed > 0, scores, torch.zeros_like(scores)) - 0.5 * observed
        x = self.features.expand(len(scores), -1, -1)
        pairs = self.pairs(torch.cat([x, known[..., None]], dim=-1)) * observed[..., None]
        count = observed.sum(dim=1, keepdim=True)
        mean = pairs.sum(dim=1) / count.clamp(min=1)
        location, scale = self.posterior(torch.cat([mean, torch.log1p(count) / 5], dim=1)).chunk(2, dim=1)
        return torch.distributions.Normal(location, 0.05 + 0.95 * torch.sigmoid(scale))

    def decode(self, z: Tensor) -> Tensor:
        """Logits (..., prompts) for latent values (..., latent)."""
        items = self.items(self.features)
        logits: Tensor = z @ items[:, 1:].T + items[:, 0]
        return logits

    def bound(self, scores: Tensor, known: Tensor, observed: Tensor) -> Tensor:
        """The negative evidence lower bound per known score; ``observed`` marks the part of ``known`` in C."""
        full, part = self.encode(scores, known), self.encode(scores, observed)
        logits = self.decode(full.rsample())
        losses = nn.functional.binary_cross_entropy_with_logits(logits, scores, reduction="none") * known
        divergence = torch.distributions.kl_divergence(full, part).sum(dim=1)
        total: Tensor = (losses.sum(dim=1) + divergence).sum() / known.sum()
        return total

    @torch.no_grad()
    def probabilities(self, scores: Tensor, observed: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Probabilities of success (draws, rows, prompts) given what was observed, one for each draw of z."""
        posterior = self.encode(scores, observed)
        noise = torch.randn((draws, *posterior.loc.shape), generator=generator)
        return torch.sigmoid(self.decode(posterior.loc + posterior.scale * noise))


def train_process(
    features: NDArray[np.float32], scores: Scores, settings: ProcessSettings, seed: int
) -> NeuralProcess:
    """Fit a neural process to earlier models' ``scores`` (models, prompts), NaN where unknown.

    ``features`` is (prompts, width), standardised. Observed subsets have from none to all of a model's known
    scores, small ones more often.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        process = NeuralProcess(torch.from_numpy(features), settings.latent, settings.hidden)
        known = torch.from_numpy(~np.isnan(scores)).float()
        values = torch.from_numpy(np.nan_to_num(scores)).float()
        optimizer = torch.optim.AdamW(process.parameters(), lr=settings.rate, weight_decay=settings.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate * 2, total_steps=settings.steps)
        for _ in range(settings.steps):
            rows = torch.randperm(len(values), generator=generator)[: settings.rows]
            share = torch.rand((len(rows), 1), generator=generator) ** 3
            observed = (torch.rand(values[rows].shape, generator=generator) < share).float() * known[rows]
            loss = process.bound(values[rows], known[rows], observed)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return process.eval()


def prompt_features(
    scores: Scores, embeddings: NDArray[np.float32] | None, *, factors: int = 8, components: int = 16
) -> NDArray[np.float32]:
    """What is known of each prompt, its embedding and how earlier models fared: (prompts, width), standardised.

    The benchmark is fixed while models come and go, so a prompt is described by the ``factors`` leading right
    singular vectors of earlier models' centred ``scores`` (models, prompts; NaN is replaced by the prompt's
    mean) and its mean, beside the ``components`` leading principal components of its embedding where there is
    one.
    """
    known = ~np.isnan(scores)
    means = np.where(known, scores, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, scores, means) - means
    columns = [means[:, None], _leading(filled.T, factors)]
    if embeddings is not None:
        columns.append(_leading(embeddings - embeddings.mean(axis=0), components))
    table = np.concatenate(columns, axis=1)
    spread = table.std(axis=0)
    standardised: NDArray[np.float32] = ((table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(
        np.float32
    )
    return standardised


def _leading(table: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """The first principal coordinates of centred rows."""
    left, values, _ = np.linalg.svd(table, full_matrices=False)
    return np.asarray((left * values)[:, :count])
