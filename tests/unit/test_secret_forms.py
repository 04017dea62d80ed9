"""Spellings of a secret, found in what endpoints may send back."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_tiers.secret_forms import spellings

KEY = 'sk-canary/KEY+01"23=\u00e9'


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"https://host/v1?key={quote(KEY, safe='')}",
        json.dumps({"authorization": f"Bearer {KEY}"}),
        b64encode(KEY.encode()).decode(),
        b64encode(f"Bearer {KEY}".encode()).decode(),
        urlsafe_b64encode(f"user:{KEY}, and more".encode()).decode(),
    ],
)
def test_it_is_found_in_each_form(echo):
    assert any(form in echo for form in spellings(KEY))


@given(before=st.binary(max_size=7), after=st.binary(max_size=7), key=st.binary(min_size=8))
def test_it_is_found_wherever_it_stands_in_base64(before, after, key):
    secret = key.hex()
    echo = b64encode(before + secret.encode() + after).decode()
    assert any(form in echo for form in spellings(secret))


def test_what_may_be_part_of_any_word_has_none():
    assert spellings("abc") == []
    assert spellings("abcd") == ["abcd"]
