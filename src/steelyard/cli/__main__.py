"""``python -m steelyard.cli``: the same as the command ``steelyard``."""

from steelyard.cli.main import main

main()
