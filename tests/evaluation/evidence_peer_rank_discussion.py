"""Evidence for peer-rank-discussion: measured together with pico-peer-review, on the same simulated reviewers.

python -m tests.evidence peer-rank-discussion
"""

from __future__ import annotations

from evaluation.evidence_pico_peer_review import main

if __name__ == "__main__":
    main()
