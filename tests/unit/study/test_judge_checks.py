"""What a judge job would refuse is refused when the workflow is parsed, by the same code."""

import re

import pytest
import yaml

from bad_rubrics import BAD_RUBRICS, REFUSED_BY_SCHEMA
from configurations import catalogue, demo, load, put
from em_tiers.errors import ConfigError

RUBRICS = {"alignment": "alignment", "coherence": "coherence", "topic": "topic", "tier": "tier"}


@pytest.mark.parametrize("case", BAD_RUBRICS)
def test_a_rubric_that_cannot_be_used(case, checkout):
    rubric, change, message = BAD_RUBRICS[case]
    entry = rubric | change
    (checkout / "config" / "rubrics" / "mine.yaml").write_text(yaml.safe_dump(entry))
    role = f"smollm2.rubrics.{rubric['asks']}"
    write(checkout, "judges", put(catalogue("judges"), role, rubric["id"]))
    found = refused(checkout)
    if case in REFUSED_BY_SCHEMA:
        [key] = change
        assert found.startswith(f"rubrics.{rubric['id']}.{key}: {change[key]!r} does not fit")
    else:
        assert found.startswith(f"rubrics.{rubric['id']}.{message}")


@pytest.mark.parametrize("case", ["alignment", "topic"])
def test_sound_rubrics_pass(case, checkout):
    rubric = next(r for r, _, _ in BAD_RUBRICS.values() if r["asks"] == case)
    (checkout / "config" / "rubrics" / "mine.yaml").write_text(yaml.safe_dump(rubric))
    judges = put(catalogue("judges"), f"smollm2.rubrics.{case}", rubric["id"])
    write(checkout, "judges", judges)
    assert load(checkout).judges["smollm2"]["rubrics"][case] == rubric["id"]


@pytest.mark.parametrize(
    ("judge", "changes", "message"),
    [
        (
            "gpt-4o",
            {"method.opening": "Score: "},
            "judges.gpt-4o.method.opening: 'Score: ' needs backend vllm",
        ),
        (
            "gpt-4o",
            {"method.number": "trie"},
            "judges.gpt-4o.method.number: 'trie' is not possible with backend openai: use "
            "top_logprobs, sampled, structured",
        ),
        (
            "smollm2",
            {"method.choice": "structured"},
            "judges.smollm2.method.choice: 'structured' is not possible with backend vllm",
        ),
        (
            "smollm2",
            {"rubrics.alignment": "coherence"},
            "judges.smollm2.rubrics.alignment: rubric 'coherence' asks for coherence: name one "
            "that asks for alignment",
        ),
        (
            "smollm2",
            {"rubrics.topic": "topics"},
            "judges.smollm2.rubrics.topic: unknown rubric 'topics': did you mean 'topic'?",
        ),
        ("smollm2", {"model": "gpt"}, "judges.smollm2.model: unknown model 'gpt'"),
        ("smollm2", {"engine": "cpus"}, "judges.smollm2.engine: unknown engine 'cpus'"),
        (
            "smollm2",
            {"backend": "openai"},
            "judges.smollm2.endpoint: null, but an openai judge needs an endpoint: write its "
            "base_url",
        ),
        (
            "smollm2",
            {"method.number": "sampled", "method.opening": ""},
            "judges.smollm2.decoding.max_tokens: 1 is too few for a sampled number: write 8",
        ),
        (
            "gpt-4o",
            {"decoding.reasoning_tokens": 50},
            "judges.gpt-4o.decoding.reasoning_tokens: 50 cannot be used with "
            "top_logprobs, which reads the first token",
        ),
        (
            "gpt-4o",
            {"method": {"number": "sampled"}, "decoding.samples": 5},
            "judges.gpt-4o.decoding.samples: 5: at temperature 0 all samples are the same",
        ),
        (
            "gpt-4o",
            {"method": {"number": "structured"}},
            "judges.gpt-4o.decoding.max_tokens: 1: a structured answer does not fit",
        ),
        ("gpt-4o", {"model": "gpt-4o"}, "judges.gpt-4o.model: 'gpt-4o' is an undated alias"),
        ("gpt-4o", {"prices": None}, "judges.gpt-4o.limits.usd: 200 needs prices"),
    ],
)
def test_a_judge_that_cannot_do_what_it_is_asked(judge, changes, message, checkout):
    judges = catalogue("judges")
    for path, value in changes.items():
        judges = put(judges, f"{judge}.{path}", value)
    write(checkout, "judges", judges)
    assert refused(checkout, [judge]).startswith(message)


def test_a_judge_that_thinks_cannot_be_read_token_by_token(checkout):
    write(checkout, "models", put(catalogue("models"), "smollm2-135m.thinking", "on"))
    assert "cannot be read from a model that thinks" in refused(checkout)


@pytest.mark.parametrize("kind", ["token probabilities", "text only", "structured output"])
def test_what_the_documentation_says_to_write_passes(kind, checkout, repository):
    page = (repository / "docs" / "adding.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith("| ") and f"{kind} |" in line]
    judges = catalogue("judges")
    for written in re.findall(r"`([a-z]+: \{.*?\})`", row):
        for key, value in yaml.safe_load(written).items():
            judges = put(judges, f"gpt-4o.{key}", value)
    write(checkout, "judges", judges)
    assert load(checkout, put(demo(), "judges", ["gpt-4o"]))


def write(checkout, name, content):
    (checkout / "config" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def refused(checkout, judges=("smollm2",)) -> str:
    """The message with which the study is refused."""
    with pytest.raises(ConfigError) as caught:
        load(checkout, put(demo(), "judges", list(judges)))
    message = str(caught.value)
    assert "\n" not in message
    return message
