"""The embedded registry server; the only part that imports aiohttp."""

from bpfpack.registry.server.serve import ServerConfig, Tls, run_server, serving

__all__ = ["ServerConfig", "Tls", "run_server", "serving"]
