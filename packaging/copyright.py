"""Prints debian/copyright (DEP 5) for a tree of `packaging/venv`: what is in it, by its own word.

python packaging/copyright.py /opt/bpfpack/lib/python3.11/site-packages
"""

import sys
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path

_HEAD = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: bpfpack
Comment: Python packages that bpfpack needs are part of this package, unchanged, each with its
 licence texts in its .dist-info directory below /opt/bpfpack.

Files: *
Copyright: 2026 the bpfpack authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems, /usr/share/common-licenses/Apache-2.0 has the whole text.
"""


def _licence(metadata: Message) -> str:
    """Return a package's licence: an SPDX expression, else its classifiers or first line."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classified = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier", [])
        if text.startswith("License :: ")
    ]
    told = str(metadata.get("License") or "").strip().splitlines()
    return " and ".join(classified) or (told[0][:80] if told else "see its files")


def main(place: Path) -> None:
    """Print one paragraph for each package in ``place``."""
    print(_HEAD)
    found = {d.metadata["Name"]: d.metadata for d in distributions(path=[str(place)])}
    for name in sorted(set(found) - {"bpfpack"}, key=str.lower):
        about = found[name]
        short = f"{name}-{about['Version']}"
        module = name.lower().replace("-", "_")
        author = about.get("Author") or about.get("Author-email") or f"the {name} authors"
        print(f"Files: opt/bpfpack/lib/*/site-packages/{module}*")
        print(f"Copyright: {' '.join(str(author).split())[:200]}")
        print(f"License: {short}\n {_licence(about)}: see its .dist-info directory.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
