"""What a log may say of an exception."""

import orjson

from dingbridge.error_location import error_location


def test_place_names_type_and_line_of_the_consumers_code_without_the_text() -> None:
    try:
        orjson.loads("private words")
    except ValueError as error:
        text = error_location(error, "tests")
    assert text.startswith("orjson.JSONDecodeError at tests.unit.library.test_error_location:")
    assert text.endswith("without_the_text")
    assert "private" not in text
