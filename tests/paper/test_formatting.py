"""Tables as plain text: hand-written lines."""

from kcnn.graph.formatting import format_table


def test_format_table_aligns_columns_with_two_spaces_between():
    lines = format_table(("network", "params"), [("a", "12,345,678"), ("longer_name", "1")], ("network",)).split("\n")
    assert lines == ["network          params", "a            12,345,678", "longer_name           1"]


def test_format_table_wraps_cells_only_where_the_table_is_too_wide():
    rows = [("a", "one two three"), ("b", "four")]
    assert format_table(("n", "text"), rows, ("n", "text"), ("text",), 16).split("\n") == [
        "n  text",
        "a  one two three",
        "b  four",
    ]
    assert format_table(("n", "text"), rows, ("n", "text"), ("text",), 15).split("\n") == [
        "n  text",
        "a  one two",
        "   three",
        "b  four",
    ]


def test_format_table_gives_narrow_columns_what_they_need_before_it_wraps():
    rows = [("ab", "one two three four five")]
    assert format_table(("x", "y"), rows, ("x", "y"), ("x", "y"), 17).split("\n") == [
        "x   y",
        "ab  one two three",
        "    four five",
    ]


def test_format_table_counts_two_columns_for_a_wide_character():
    assert format_table(("class", "n"), [("螞蟻", "1"), ("bee", "22")], ("class",)).split("\n") == [
        "class   n",
        "螞蟻    1",
        "bee    22",
    ]
