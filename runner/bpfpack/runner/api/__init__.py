"""eBPF packages from Python: what `bpfpack.runner` exports (docs/embedding.md)."""
