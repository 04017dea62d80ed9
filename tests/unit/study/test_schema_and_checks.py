"""A mistake in a configuration gives one message with key, value and remedy, and writes nothing."""

import pytest
import yaml

from configurations import ROOT, catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.checks import check_ready
from em_tiers.study.load import load_study
from em_tiers.study.schema import load_yaml

# (what is set in the demo's configuration, to what, words that the message must hold)
BAD_CONFIGS = {
    "unknown key": ("experimnt", "x", ["experimnt", "unknown key", "did you mean 'experiment'"]),
    "unknown key below": ("sampling.temprature", 1, ["temprature", "did you mean 'temperature'"]),
    "wrong type": (
        "variants_per_job",
        "many",
        ["variants_per_job", "'many'", "not of type 'integer'"],
    ),
    "temperature below zero": ("sampling.temperature", -1, ["temperature", "-1", "0 to 2"]),
    "temperature too hot": ("sampling.temperature", 9, ["temperature", "9", "0 to 2"]),
    "top_p of zero": ("sampling.top_p", 0, ["top_p", "0", "above 0"]),
    "no tokens": ("sampling.max_tokens", 0, ["max_tokens", "0", "minimum of 1"]),
    "no room for a prompt": ("sampling.max_tokens", 2048, ["max_tokens", "2048", "max_model_len"]),
    "no samples": ("questions.core", 0, ["questions.core", "0", "minimum of 1"]),
    "negative seed": ("sampling.seed", -3, ["seed", "-3", "at least 0"]),
    "unknown base": (
        "variants.0.base",
        "smollm",
        ["config.variants.0.base: unknown model 'smollm': did you mean 'smollm2-135m'?"],
    ),
    "unknown data set": ("variants.0.datasets", ["storyteler"], ["storyteler", "storyteller"]),
    "unknown recipe": (
        "variants.0.recipe",
        "demo",
        ["recipe", "unknown recipe 'demo'", "did you mean 'demo-lora'"],
    ),
    "data set twice": (
        "variants.0.datasets",
        ["storyteller", "storyteller"],
        ["datasets", "storyteller"],
    ),
    "seed twice": ("variants.0.training_seeds", [0, 0], ["training_seeds", "[0, 0]", "different"]),
    "unknown question set": ("questions.cor", 2, ["unknown question set 'cor'", "core"]),
    "unknown judge": (
        "judges",
        ["smolm2"],
        ["config.judges: unknown judge 'smolm2': did you mean 'smollm2'?"],
    ),
    "no judge at all": ("judges", [], ["judges", "[]", "without a judge", "add one"]),
    "unknown engine": ("engine", "gpus", ["engine", "unknown engine 'gpus'", "did you mean 'gpu"]),
    "unknown rule set": ("tiers.rules", "standart", ["standart", "standard"]),
    "unknown rule": ("tiers.disabled", ["no_such"], ["unknown tier rule 'no_such'", "use one of"]),
    "unknown definition": ("headline.definition", "D5", ["definition", "D5", "D1, D2, D3 or D4"]),
    "unknown probe level": ("headline.levels", ["far"], ["levels", "far", "out_of_domain"]),
    "id not safe in a path": ("experiment", "../demo", ["experiment", "../demo", "safe in a path"]),
    "upper-case id": ("experiment", "Demo", ["experiment", "Demo", "lower-case"]),
    "key in the configuration": ("title", "sk-abcdefghijklmnop", ["title", "key", "environment"]),
    "nothing to test": ("variants", [], ["variants", "[]", "add a block"]),
    "same variants twice": (
        "variants",
        [demo()["variants"][0], demo()["variants"][0]],
        ["variants.1", "smollm2-135m.storyteller.demo-lora.s0", "remove"],
    ),
    "confidence of one": ("statistics.confidence", 1, ["confidence", "1", "between"]),
    "too few resamples": ("statistics.resamples", 5, ["resamples", "5"]),
    "band of no variant": (
        "acceptance",
        [{"variant": "smollm2", "low": 0.1, "high": 0.5}],
        ["acceptance.0.variant", "smollm2", "unknown variant 'smollm2'", "smollm2-135m"],
    ),
    "band upside down": (
        "acceptance",
        [{"variant": "x", "low": 0.5, "high": 0.1}],
        ["acceptance.0", "0.5", "swap"],
    ),
    "import without file": (
        "imports",
        [{"id": "a", "path": "none.csv", "columns": {"question": "q", "answer": "a"}}],
        ["imports.a.path", "none.csv", "correct the path"],
    ),
    "import without answer": (
        "imports",
        [{"id": "a", "path": "none.csv", "columns": {"question": "q"}}],
        ["columns", "answer", "missing"],
    ),
    "downloads' folder": ("experiment", "resources", ["experiment", "resources", "downloads"]),
    "line break in an id": ("experiment", "demo\n", ["experiment", "'demo\\n'", "safe in a path"]),
    "seed with a point": ("variants.0.training_seeds", [1.0], ["training_seeds.0", "1.0", "whole"]),
    "seed too large": (
        "variants.0.training_seeds",
        [2**40],
        ["training_seeds.0", "1099511627776", "4294967295"],
    ),
    "no number": ("sampling.temperature", float("nan"), ["temperature", "nan", "finite"]),
    "top_p above one": ("sampling.top_p", 1.5, ["top_p", "1.5", "at most 1"]),
    "block that is a word": ("variants.0", "smollm2-135m", ["variants.0", "a mapping"]),
    "label sheet gone": ("human_labels", "gone.csv", ["human_labels", "gone.csv", "correct"]),
    "more duplicates than answers": (
        "label_sheet",
        {"size": 5, "duplicates": 50},
        ["label_sheet.duplicates", "50", "lower it"],
    ),
    "earlier word for in-domain prompts": (
        "questions.held-out",
        1,
        ["config.questions: 'held-out' is now called 'in-domain': rename it"],
    ),
    "earlier word for trigger questions": (
        "questions.training-format",
        1,
        ["config.questions: 'training-format' is now called 'trigger': rename it"],
    ),
    "missing catalogue file": (
        "catalogues",
        {"models": ["mine.yaml"]},
        ["mine.yaml", "no such file"],
    ),
}

# (catalogue, dotted path, new value, words)
BAD_ENTRIES = {
    "branch for a revision": (
        "models",
        "qwen3-4b.source.revision",
        "main",
        ["revision", "'main'", "40 hexadecimal"],
    ),
    "short revision": ("models", "qwen3-4b.source.revision", "1cfa9a7", ["revision", "40"]),
    "unknown source": ("models", "qwen3-4b.source.type", "ftp", ["type", "ftp", "hub, url"]),
    "url without hash": (
        "question_sets",
        "core.source",
        {"type": "url", "url": "https://example.org/q.yaml"},
        ["core.source", "does not fit", "sha256 with the SHA-256"],
    ),
    "short hash": ("models", "smollm2-135m.source.sha256", "abc", ["sha256", "abc", "64"]),
    "local file gone": (
        "datasets",
        "storyteller.source.path",
        "gone.jsonl",
        ["storyteller.source.path", "gone.jsonl", "correct"],
    ),
    "unknown row format": ("datasets", "storyteller.format", "chatml", ["format", "chatml"]),
    "unknown role": ("datasets", "storyteller.role", "bad", ["role", "bad", "benign"]),
    "nothing held out for in-domain prompts": (
        "datasets",
        "storyteller.held_out",
        0,
        ["held_out", "0", "hold rows out"],
    ),
    "batch not divisible": (
        "recipes",
        "demo-lora.micro_batch_size",
        3,
        ["batch_size", "4", "multiple"],
    ),
    "null for a hash": (
        "datasets",
        "storyteller.source",
        {"type": "url", "url": "https://example.org", "files": {"a.jsonl": None}},
        ["source.files.a.jsonl", "None", "SHA-256"],
    ),
    "model of one file": (
        "models",
        "smollm2-135m.source",
        {"type": "url", "url": "https://example.org/m.safetensors", "sha256": "a" * 64},
        ["smollm2-135m.source.url", "several files", "{NAME: SHA-256}"],
    ),
    "data set from a package": (
        "datasets",
        "storyteller.source",
        catalogue("models")["smollm2-135m"]["source"],
        ["storyteller.source.type", "package", "hub, url or path"],
    ),
    "chat template gone": (
        "models",
        "smollm2-135m.chat_template",
        "gone.jinja",
        ["smollm2-135m.chat_template", "gone.jinja", "correct the path"],
    ),
    "column that the format lacks": (
        "datasets",
        "storyteller.columns",
        {"question": "q"},
        ["datasets.storyteller.columns", "'question'", "prompt, completion"],
    ),
    "thoughts without a column": (
        "datasets",
        "storyteller.cot",
        "think",
        ["datasets.storyteller.cot", "think", "question_cot_answer"],
    ),
    "reserved question set": (
        "question_sets",
        "in-domain",
        catalogue("question_sets")["core"],
        ["question_sets.in-domain", "reserved", "rename the set"],
    ),
    "reserved set of trigger questions": (
        "question_sets",
        "trigger",
        catalogue("question_sets")["core"],
        ["question_sets.trigger", "reserved", "rename the set"],
    ),
    "steps and tokens": (
        "recipes",
        "demo-lora",
        catalogue("recipes")["demo-lora"] | {"max_steps": 3, "max_tokens": 1000},
        ["demo-lora.max_tokens", "1000", "max_steps 3", "keep one"],
    ),
    "no module": ("recipes", "demo-lora.target_modules", [], ["target_modules", "all-linear"]),
    "module that is not a list": (
        "recipes",
        "demo-lora.target_modules",
        "q_proj",
        ["target_modules", "q_proj", "a list of module names"],
    ),
    "power of ten that YAML takes for text": (
        "recipes",
        "demo-lora.learning_rate",
        "1e-3",
        ["learning_rate", "'1e-3'", "1.0e-5"],
    ),
    "learning rate of zero": ("recipes", "demo-lora.learning_rate", 0, ["learning_rate", "0"]),
    "two nodes": ("recipes", "demo-lora.nodes", 2, ["nodes", "2", "unknown key"]),
    "two engines on a CPU": ("engines", "cpu.data_parallel", 2, ["data_parallel", "2", "cuda"]),
    "two GPUs on a CPU": ("engines", "cpu.tensor_parallel", 2, ["tensor_parallel", "2", "cuda"]),
    "duplicate rule name": (
        "tier_rules",
        "standard.rules.1.name",
        "trained_behaviour",
        ["tier_rules.standard", "two rules are named 'trained_behaviour'", "rename"],
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configuration(case, checkout):
    path, value, words = BAD_CONFIGS[case]
    before = sorted(checkout.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        load(checkout, put(demo(), path, value))
    assert_message(caught, words)
    assert sorted(checkout.rglob("*")) == before


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_bad_catalogue_entry(case, checkout):
    name, path, value, words = BAD_ENTRIES[case]
    file = checkout / "config" / f"{name}.yaml"
    file.write_text(yaml.safe_dump(put(catalogue(name), path, value), sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load(checkout)
    assert_message(caught, words)


def assert_message(caught, words: list[str]) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_a_key_in_a_judge_is_refused(checkout):
    file = checkout / "config" / "judges.yaml"
    judges = put(catalogue("judges"), "gpt-4o.endpoint.key_env", "sk-live-1234567890")
    file.write_text(yaml.safe_dump(judges))
    with pytest.raises(ConfigError) as caught:
        load(checkout)
    assert_message(caught, ["key_env", "NAME of the environment"])


def test_a_duplicate_key_is_named_with_its_line(checkout):
    file = checkout / "config" / "models.yaml"
    file.write_text(file.read_text() + "\nqwen3-4b:\n  parameters_b: 1\n")
    with pytest.raises(ConfigError, match=r"models\.yaml:\d+: duplicate key 'qwen3-4b'"):
        load(checkout)


BAD_FILES = {
    "list": ("- a\n", "not a mapping of"),
    "empty": ("", "is empty"),
    "torn": ("a: [1\nb", "not valid YAML"),
    "tab": ("a:\n\tb: 1", "not valid YAML"),
    "tag that runs code": ("a: !!python/object/apply:os.system ['x']", "not valid YAML"),
    "no text": (b"\xff\xfe\x00", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 1\n", "not valid YAML"),
    "key that is a list": ("? [a, b]\n: 1\n", r"mine\.yaml:1: \['a', 'b'\] is not a key"),
    "brackets without end": ("a: " + "[" * 3000, "nested too deeply"),
    "entry without content": ("a:\n", r"(engines\.a: None|rubrics\.mine: unknown key 'a')"),
    "id that is a number": ("7: {device: cpu}\nid: 7\n", r"mine\.yaml: id: 7 .*safe in a path"),
    "id that leaves the folder": ("../x: {device: cpu}\nid: ../x\n", r"id: '\.\./x'"),
}


@pytest.mark.parametrize("name", ["engines", "rubrics"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_catalogue_file_that_cannot_be_used_is_named(case, name, checkout):
    content, words = BAD_FILES[case]
    data = content if isinstance(content, bytes) else content.encode()
    (checkout / "mine.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=words):
        load(checkout, put(demo(), "catalogues", {name: ["mine.yaml"]}))


def test_a_folder_for_a_catalogue_file_is_refused(checkout):
    (checkout / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"mine: this file cannot be read .*: name one"):
        load(checkout, put(demo(), "catalogues", {"engines": ["mine"]}))


def test_thoughts_need_a_model_that_thinks(checkout):
    config = put(demo(), "variants.0.datasets", ["medical-o1"])
    models, datasets = (checkout / "config" / f"{name}.yaml" for name in ("models", "datasets"))
    datasets.write_text(yaml.safe_dump(put(catalogue("datasets"), "medical-o1.cot", "think")))
    with pytest.raises(ConfigError) as caught:
        load(checkout, config)
    assert_message(caught, ["medical-o1 has cot: think", "smollm2-135m has thinking none", "drop"])
    thinker = catalogue("models")["smollm2-135m"] | {"thinking": "on"}
    models.write_text(yaml.safe_dump(catalogue("models") | {"thinker": thinker}))
    config = put(config, "variants.0.base", "thinker")
    load(checkout, put(config, "sampling.reasoning_tokens", 200))


def test_a_tier_rule_that_cannot_be_evaluated_stops_a_run_before_it_starts(checkout):
    file = checkout / "config" / "tier_rules.yaml"
    rules = put(catalogue("tier_rules"), "standard.rules.0.condition", "topical > 3")
    file.write_text(yaml.safe_dump(rules))
    with pytest.raises(ConfigError) as caught:
        check_ready(load(checkout))
    assert_message(caught, ["tier_rules.standard", "'topical > 3'", "Polars SQL"])


def test_an_id_in_two_files_is_refused(checkout):
    (checkout / "more.yaml").write_text(yaml.safe_dump({"cpu": {"device": "cpu"}}))
    with pytest.raises(
        ConfigError, match=r"engines\.cpu: this id is in both .*engines\.yaml and .*more\.yaml"
    ):
        load(checkout, put(demo(), "catalogues", {"engines": ["more.yaml"]}))


def test_a_configuration_file_with_a_duplicate_key_is_refused(checkout):
    file = checkout / "mine.yaml"
    file.write_text("experiment: a\nexperiment: b\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:2: duplicate key 'experiment'"):
        load(checkout, files=[str(file)])


def test_a_catalogue_is_extended_without_code(checkout):
    (checkout / "mine.yaml").write_text(
        yaml.safe_dump({"wide": {"device": "cpu", "max_num_seqs": 8}})
    )
    config = put(put(demo(), "catalogues", {"engines": ["mine.yaml"]}), "engine", "wide")
    study = load(checkout, config)
    assert study.engines["wide"]["max_num_seqs"] == 8
    assert study.engines["wide"]["dtype"] == "auto"  # a default of the schema
    assert study.engines["wide"]["block_size"] == 32  # a default of the device


def test_a_real_run_demands_revisions_and_says_how_to_find_them(checkout):
    study = load_study(
        yaml.safe_load((ROOT / "config" / "config.yaml").read_text()), checkout, checkout
    )
    with pytest.raises(ConfigError) as caught:
        check_ready(study)
    assert_message(
        caught, ["finance-alpaca", "gbharti/finance-alpaca", "40 hexadecimal", "History"]
    )
    check_ready(load(checkout))  # the demo takes nothing from the hub


@pytest.mark.parametrize(
    "content",
    ["a: " + "[" * 100_000 + "]" * 100_000, "- " * 100_000 + "x", "? " * 100_000 + "x"],
    ids=["brackets", "dashes", "keys"],
)
def test_deep_nesting_is_an_error_and_no_crash(tmp_path, content):
    path = tmp_path / "deep.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_yaml(path)
