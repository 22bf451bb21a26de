"""Compiles the event engine whenever a wheel is made, an editable one too."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EngineHook(BuildHookInterface):
    """Runs ``scripts/build-engine``; what it lacks ends the build by name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        command = [str(Path(self.root) / "scripts/build-engine")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot compile the event engine\n{done.stderr.strip()}")
