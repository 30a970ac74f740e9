"""Tables as Markdown."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header."""
    head, *body = rows
    safe = [
        [cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *body)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in safe)
