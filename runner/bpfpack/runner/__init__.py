"""Touches the kernel: plan, load, attach, events, output."""
