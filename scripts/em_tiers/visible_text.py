"""Text from outside without the characters that steer a terminal or turn the order of reading."""

import re

# Control characters but for tab, line feed and carriage return, and marks of direction.
UNSEEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> str:
    """`text` with a replacement character in the place of each that cannot be seen."""
    return re.sub(UNSEEN, REPLACEMENT, text)
