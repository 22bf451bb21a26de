"""``python -m bpfpack``."""

from bpfpack.cli import main

main()
