"""The tab's built files, read once.

In:  the package's ``static`` folder.
Out: name -> bytes and MIME type; a module that says what is missing if there is no bundle.
Does not know about HTTP or TensorBoard.

Names are looked up in a table made at start: no request can reach any other file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib

STATIC = pathlib.Path(__file__).parent / "static"
ENTRY = "index.js"

# Own table: on Windows the registry may say that .js is text/plain, and browsers then
# refuse the module.
_MIME_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}

_MISSING = (
    "The Gradient Health tab is not built. Install a released wheel (pip install tb-gradients), "
    "or in a checkout run: npm --prefix frontend ci && npm --prefix frontend run build"
)


@dataclasses.dataclass(frozen=True)
class StaticFile:
    content: bytes
    mime_type: str


class Bundle:
    """The files of the tab and a version that changes with them."""

    def __init__(self, folder: pathlib.Path = STATIC) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): StaticFile(
                path.read_bytes(), _MIME_TYPES[path.suffix]
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _MIME_TYPES
        }
        self.built = ENTRY in self.files
        if not self.built:
            self.files[ENTRY] = StaticFile(_apology(), _MIME_TYPES[".js"])
        self.version = hashlib.sha256(self.files[ENTRY].content).hexdigest()[:12]

    @property
    def entry_path(self) -> str:
        """Address of the entry module; a new version has a new address."""
        return f"/{ENTRY}?v={self.version}"


def _apology() -> bytes:
    """A module with the interface of the bundle that shows what to do."""
    return (
        "export function render() {\n"
        "  const note = document.createElement('p');\n"
        f"  note.textContent = {json.dumps(_MISSING)};\n"
        "  note.style.cssText = 'font: 15px/1.5 sans-serif; max-width: 40em; margin: 3em';\n"
        "  document.body.append(note);\n"
        "}\n"
    ).encode()
