"""Each mistake is one clear line before anything is written; what is only odd passes."""

import re

import pytest
import yaml

from config_mistakes import cases, harmless
from configurations import load
from em_tiers.errors import ConfigError
from em_tiers.study.checks import check_ready

CASES, HARMLESS = cases(), harmless()


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_clear_line_at_the_start(case, checkout):
    config, files, word = CASES[case]
    write(checkout, files)
    before = sorted(checkout.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        check_ready(load(checkout, config))
    message = str(caught.value)
    assert "\n" not in message
    assert word in message
    # A place, what is wrong there, and what to do.
    assert re.match(r"[^\s:]+(: id|: [^:]+)?: .+[:;] .+", message), message
    assert sorted(checkout.rglob("*")) == before


@pytest.mark.parametrize("case", HARMLESS)
def test_what_only_looks_odd_passes(case, checkout):
    config, files, _ = HARMLESS[case]
    write(checkout, files)
    check_ready(load(checkout, config))


def write(checkout, files):
    for name, content in files.items():
        path = checkout / "config" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
