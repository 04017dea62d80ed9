"""Models that think: what the configuration and the templates on this machine contradict."""

import json

import pytest
import yaml

from adapters import write_model
from configurations import catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.asked import sampling
from em_tiers.study.chat_checks import template_of
from em_tiers.study.judges import full_identity

SWITCH = "{{ messages }}{% if enable_thinking %}<think>{% endif %}"


def with_model(checkout, **changes):
    """The demo's configuration with a changed copy of its model as the tested base."""
    models = catalogue("models")
    models["mine"] = models["smollm2-135m"] | changes
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    return put(demo(), "variants.0.base", "mine")


def refused(checkout, config) -> str:
    with pytest.raises(ConfigError) as caught:
        load(checkout, config)
    return str(caught.value)


def local(checkout, template, as_file=False):
    """The source of a local model folder whose template has this text."""
    folder = write_model(checkout / "weights")
    if as_file:
        (folder / "chat_template.jinja").write_text(template)
    else:
        text = json.dumps({"chat_template": template})
        (folder / "tokenizer_config.json").write_text(text)
    return {"type": "path", "path": str(folder)}


def test_a_model_that_thinks_needs_tokens_for_it(checkout):
    config = with_model(checkout, thinking="on")
    words = refused(checkout, config)
    assert words.startswith("config.sampling.reasoning_tokens: 0, but model mine has thinking: on")
    assert "write how many" in words
    study = load(checkout, put(config, "sampling.reasoning_tokens", 100))
    assert sampling(study)["reasoning_tokens"] == 100


def test_thoughts_need_room_in_the_engine(checkout):
    config = put(with_model(checkout, thinking="on"), "sampling.reasoning_tokens", 4000)
    assert "leaves no room for a prompt within max_model_len" in refused(checkout, config)
    load(checkout, put(demo(), "sampling.reasoning_tokens", 4000))  # no tested model thinks


@pytest.mark.parametrize("as_file", [True, False])
def test_a_template_with_the_switch_refuses_none_at_the_start(checkout, as_file):
    source = local(checkout, SWITCH, as_file)
    words = refused(checkout, with_model(checkout, source=source))
    assert words.startswith("models.mine.thinking: none: the chat template has the switch")
    assert 'write thinking: "off", or "on"' in words
    load(checkout, with_model(checkout, source=source, thinking="off"))


def test_a_template_of_its_own_is_looked_at_too(checkout):
    (checkout / "own.jinja").write_text(SWITCH)
    config = with_model(checkout, chat_template=str(checkout / "own.jinja"))
    assert "models.mine.thinking: none" in refused(checkout, config)


def test_a_downloaded_model_is_looked_at_and_a_missing_one_is_not(checkout):
    config = with_model(checkout)
    study = load(checkout, config)
    assert template_of(study, "mine") is None
    folder = study.workdir / "results" / "resources" / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": SWITCH}))
    assert "models.mine.thinking: none" in refused(checkout, config)


def test_a_judge_that_thinks_is_looked_at_too(checkout):
    with_model(checkout, source=local(checkout, SWITCH))
    judges = catalogue("judges")
    judges["smollm2"]["model"] = "mine"
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    assert "models.mine.thinking: none" in refused(checkout, demo())


def test_thoughts_of_training_data_need_the_marks_they_are_written_in(checkout):
    datasets = put(catalogue("datasets"), "medical-o1.cot", "think")
    (checkout / "config" / "datasets.yaml").write_text(yaml.safe_dump(datasets))
    config = with_model(checkout, thinking="on", thinking_marks="magistral")
    config = put(config, "sampling.reasoning_tokens", 100)
    words = refused(checkout, put(config, "variants.0.datasets", ["medical-o1"]))
    assert "medical-o1 has cot: think, which writes <think>" in words
    assert "'[THINK]'" in words


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ("magistrale", "models.mine.thinking_marks: 'magistrale' does not fit"),
        ({"begin": "<t>"}, "models.mine.thinking_marks.end: missing"),
        ({"begin": "<t>", "end": ""}, "models.mine.thinking_marks.end: '' does not fit"),
        ({"begin": "<t>", "end": "</t>", "middle": "x"}, "unknown key 'middle'"),
    ],
)
def test_marks_are_a_known_name_or_two_texts(checkout, marks, words):
    assert words in refused(checkout, with_model(checkout, thinking_marks=marks))


def test_marks_are_part_of_a_judges_identity_only_where_they_are_named(checkout):
    study = load(checkout, demo())
    plain = full_identity(study, "smollm2")
    assert "thinking_marks" not in plain
    study.models["smollm2-135m"]["thinking_marks"] = "magistral"
    assert full_identity(study, "smollm2") == plain | {"thinking_marks": "magistral"}
