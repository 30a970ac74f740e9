"""Tables as Markdown."""

from lnln_dist.markdown import table


def test_a_table_has_a_header_and_no_cell_ends_another() -> None:
    assert table([["a", "b"], ["1", "2|3"]]) == "| a | b |\n| --- | --- |\n| 1 | 2\\|3 |"
