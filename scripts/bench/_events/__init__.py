"""The parts of ``scripts/bench/events``."""
