"""Add the API reference to the documentation site: every public name, from its docstring.

A hook of MkDocs. The page has no file, because it holds directives that only the site understands.
"""

from __future__ import annotations

from typing import Any

import tb_gradients


def page() -> str:
    """The Markdown of the page, with one directive per public name."""
    names = [name for name in tb_gradients.__all__ if not name.startswith("_")]
    entries = "\n\n".join(f"::: {tb_gradients._HOMES[name]}.{name}" for name in names)
    return (
        "# API\n\nThe public names of `import tb_gradients as tbg`. "
        f"They are imported when they are first used.\n\n{entries}\n"
    )


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs with the pages that it has found."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference.md", content=page()))
    return files
