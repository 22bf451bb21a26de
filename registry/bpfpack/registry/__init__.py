"""Moves and keeps packages: store, client, trust, server."""
