"""Text that others wrote, where Streamlit reads Markdown."""

from __future__ import annotations


def escape_markdown(text: str) -> str:
    """Text of a person's, a file's or a server's as it stands, where Streamlit reads Markdown."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-!|<>~$:&" else c for c in text)
