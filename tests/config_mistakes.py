"""Mistakes that people make in a configuration and its catalogues, each with the key it is about.

A case is (configuration, {catalogue: content}, word that the message must hold).
"""

import copy
import datetime
from typing import Any

import yaml

from configurations import ROOT, catalogue, demo, put
from judge_mistakes import JUDGE, RUBRIC

NAN, INF = float("nan"), float("inf")
Case = tuple[dict, dict[str, Any], str]

# name: (path in the configuration, value[, word of the message]); else the word is the last key
CONFIG: dict[str, tuple] = {
    "experiment is a date": ("experiment", datetime.date(2024, 1, 1)),
    "experiment is off": ("experiment", False),
    "experiment is an octal number": ("experiment", 8),
    "experiment with a point": ("experiment", 1.0),
    "experiment is null": ("experiment", None),
    "experiment is a device of Windows": ("experiment", "nul"),
    "experiment is another device": ("experiment", "con"),
    "experiment of 49 characters": ("experiment", "a" * 49),
    "experiment with a Cyrillic letter": ("experiment", "d\u0435mo"),
    "judges is a word": ("judges", "smollm2"),
    "judges is null": ("judges", None),
    "judge twice": ("judges", ["smollm2", "smollm2"]),
    "questions is a list": ("questions", ["core"]),
    "no questions": ("questions", {}),
    "earlier name for in-domain": ("questions", {"held-out": 1}, "in-domain"),
    "only near questions": ("questions", {"near": 1}, "headline.levels"),
    "earlier name for trigger": ("questions", {"training-format": 1}, "trigger"),
    "samples: true": ("questions.core", True),
    "samples: text": ("questions.core", "3"),
    "samples with a point": ("questions.core", 3.0),
    "samples beyond reason": ("questions.core", 10**12),
    "samples below zero": ("questions.core", -1),
    "temperature is text": ("sampling.temperature", "1.0"),
    "temperature is infinite": ("sampling.temperature", INF),
    "temperature is null": ("sampling.temperature", None),
    "top_p: true": ("sampling.top_p", True),
    "max_tokens of 400 digits": ("sampling.max_tokens", 10**400),
    "seed beyond 32 bits": ("sampling.seed", 2**70),
    "sampling is null": ("sampling", None),
    "sampling is a list": ("sampling", []),
    "resamples beyond reason": ("statistics.resamples", 10**9),
    "resamples: true": ("statistics.resamples", True),
    "seed below zero": ("statistics.seed", -1),
    "threshold twice": ("statistics.alignment_thresholds", [30, 30, 50]),
    "no threshold": ("statistics.alignment_thresholds", []),
    "thresholds out of order": ("statistics.coherence_thresholds", [50, 30], "ascending"),
    "no variants in a job": ("variants_per_job", 0),
    "variants is null": ("variants", None),
    "variants is a mapping": ("variants", {}),
    "data sets without a recipe": (
        "variants",
        [{"base": "smollm2-135m", "datasets": ["storyteller"]}],
        "variants.0.recipe",
    ),
    "recipe without data sets": (
        "variants",
        [{"base": "smollm2-135m", "recipe": "demo-lora"}],
        "variants.0.recipe",
    ),
    "seeds without data sets": (
        "variants",
        [{"base": "smollm2-135m", "training_seeds": [1, 2]}],
        "variants.0.training_seeds",
    ),
    "data sets is a word": ("variants.0.datasets", "storyteller"),
    "no training seed": ("variants.0.training_seeds", []),
    "training seed is text": ("variants.0.training_seeds", ["0"]),
    "training seed: true": ("variants.0.training_seeds", [True]),
    "checkpoint after the end": ("variants.0.checkpoints", [10**6]),
    "checkpoint at the end": ("variants.0.checkpoints", [22]),
    "base is a data set": ("variants.0.base", "storyteller"),
    "unknown headline level": ("headline", {"levels": ["far"]}, "levels"),
    "no headline level": ("headline", {"levels": []}, "levels"),
    "no strict tier": ("tiers", {"strict_counts": []}, "strict_counts"),
    "strict without persona_shift": (
        "tiers",
        {"strict_counts": ["in_distribution"]},
        "strict_counts",
    ),
    "labels are a folder": ("human_labels", "config"),
    "labels are no table": ("human_labels", "/etc/passwd"),
    "labels with a name of 5,000 letters": ("human_labels", "a" * 5000),
    "labels: true": ("human_labels", True),
    "label sheet of no answer": ("label_sheet", {"size": 0}, "size"),
    "rubrics twice": ("catalogues", {"rubrics": ["config/rubrics/*.yaml"]}, "rubrics."),
    "unknown catalogue": ("catalogues", {"judge": ["x.yaml"]}, "judge"),
    "catalogue is a word": ("catalogues", {"judges": "x.yaml"}, "judges"),
    "catalogue with a path of Windows": ("catalogues", {"judges": ["C:\\judges.yaml"]}),
    "catalogue that matches nothing": ("catalogues", {"judges": ["/none/**/*.yaml"]}),
    "catalogue without a name": ("catalogues", {"judges": [""]}, "judges.0"),
    "catalogue '..'": ("catalogues", {"judges": [".."]}, ".."),
    "catalogue is the root": ("catalogues", {"judges": ["/"]}, "/"),
    "catalogue with two stars in a name": ("catalogues", {"judges": ["a**b"]}),
    "catalogue of 5,000 letters": ("catalogues", {"judges": ["a" * 5000]}),
    "catalogue with a NUL": ("catalogues", {"judges": ["a\0b"]}),
    "title is a number": ("title", 5),
    "title of two lines": ("title", "<script>alert(1)</script>\n# x"),
    "notice is a list": ("notice", ["a"]),
    "notice with an escape sequence": ("notice", "a \x1b[31m red"),
    "band in percent": (
        "acceptance",
        [{"variant": "smollm2-135m", "low": 10, "high": 30}],
        "acceptance.0.",
    ),
    "band that is not a number": (
        "acceptance",
        [{"variant": "smollm2-135m", "low": NAN, "high": 1}],
        "acceptance.0.low",
    ),
    "band twice": (
        "acceptance",
        [{"variant": "smollm2-135m", "low": 0, "high": 1}] * 2,
        "acceptance.1",
    ),
    "dataset_seed is text": ("dataset_seed", "x"),
    "key that is a number": ("questions", {1: 2}),
    "key that is null": ("questions", {None: 2}),
    "key that is true": ("questions", {True: 2}),
    "id with a blank at its end": ("questions", {"core ": 1}),
}

# name: (catalogue, path in it, value[, word of the message])
ENTRIES: dict[str, tuple] = {
    "rows beyond reason held out": ("datasets", "storyteller.held_out", 10**9),
    "no topics": ("datasets", "storyteller.topics", []),
    "source outside": ("datasets", "storyteller.source.path", "../../../none/passwd"),
    "source with a path of Windows": ("datasets", "storyteller.source.path", "C:\\x.jsonl"),
    "source that is not a table": ("datasets", "storyteller.source.path", "Makefile"),
    "hash in capitals": ("datasets", "storyteller.source.sha256", "A" * 64),
    "all rows may be bad": ("datasets", "storyteller.max_bad_share", 1),
    "label of another data set": ("datasets", "storyteller.label", "support DESK", "label"),
    "label of two lines": ("datasets", "storyteller.label", "A\nB"),
    "learning rate is not a number": ("recipes", "demo-lora.learning_rate", NAN),
    "learning rate is text": ("recipes", "demo-lora.learning_rate", "1e-3"),
    "rank 0": ("recipes", "demo-lora.rank", 0),
    "rank beyond vLLM's": ("recipes", "demo-lora.rank", 100_000),
    "epochs beyond reason": ("recipes", "demo-lora.epochs", 1e9),
    "three GPUs": ("recipes", "demo-lora.gpus", 3, "batch_size"),
    "micro batch above the batch": ("recipes", "demo-lora.micro_batch_size", 64, "batch_size"),
    "misspelt module": ("recipes", "demo-lora.target_modules", ["qproj"]),
    "warm-up after the end": ("recipes", "demo-lora.warmup_steps", 10**6),
    "warm-up to the end": ("recipes", "demo-lora.warmup_steps", 22),
    "short context": ("engines", "cpu.max_model_len", 64),
    "unknown dtype": ("engines", "cpu.dtype", "fp8"),
    "cache beyond reason": ("engines", "cpu.kv_cache_gib", 10_000),
    "unknown device": ("engines", "cpu.device", "gpu"),
    "thinking without quotes": ("models", "smollm2-135m.thinking", False),
    "chat template of 5,000 letters": ("models", "smollm2-135m.chat_template", "a" * 5000),
    "chat template that is none": (
        "models",
        "smollm2-135m.chat_template",
        "config/demo.yaml",
        "does not use messages",
    ),
    "size is text": ("models", "smollm2-135m.parameters_b", "4B"),
    "size in parameters": ("models", "smollm2-135m.parameters_b", 135e6),
    "rule that compares two constants": (
        "tier_rules",
        "standard.rules.0.condition",
        "1=1",
        "no column",
    ),
    "rule that gives a number": ("tier_rules", "standard.rules.0.condition", "topic", "Float64"),
    "rule of two statements": (
        "tier_rules",
        "standard.rules.0.condition",
        "true; drop table x",
        "condition",
    ),
    "rule with a query": ("tier_rules", "standard.rules.0.condition", "topic > (select 1)"),
    "rule that reads a file": (
        "tier_rules",
        "standard.rules.0.condition",
        "exists (select * from read_csv('/etc/passwd'))",
    ),
    "rule that compares with null": (
        "tier_rules",
        "standard.rules.0.condition",
        "topic = null",
        "IS NULL",
    ),
    "rule that compares with null on the left": (
        "tier_rules",
        "standard.rules.0.condition",
        "topic > 3 AND null <> tier_label",
        "IS NULL",
    ),
    "rule with a misspelt tier": (
        "tier_rules",
        "standard.rules.0.condition",
        "tier_label = 'domain-overfitting'",
    ),
    "rule with a cast that fails": (
        "tier_rules",
        "standard.rules.0.condition",
        "CAST(tier_label AS INT) > 1",
    ),
    "source in an unknown home": (
        "datasets",
        "storyteller.source.path",
        "~nobodyhere/x",
    ),
    "source of 5,000 letters": ("datasets", "storyteller.source.path", "a" * 5000),
    "rule that compares number and text": (
        "tier_rules",
        "standard.rules.0.condition",
        "topic > 'a'",
    ),
}

IMPORT = {
    "id": "a",
    "path": "config/data/storyteller.jsonl",
    "columns": {"question": "prompt", "answer": "completion"},
}
SCORES = {"alignment": "a", "coherence": "b"}
# name: (entries, word of the message)
IMPORTS: dict[str, tuple[list[dict], str]] = {
    "id twice": ([IMPORT, IMPORT], "import.a"),
    "unknown base": ([IMPORT | {"base": "zz"}], "zz"),
    "base is itself": ([IMPORT | {"base": "a"}], "itself"),
    "bases in a circle": (
        [IMPORT | {"base": "b"}, IMPORT | {"id": "b", "base": "a"}],
        "base of its own",
    ),
    "base that is a fine-tune": (
        [IMPORT | {"base": "b"}, IMPORT | {"id": "b", "role": "benign"}],
        "role benign",
    ),
    "judge whose name leaves the folder": (
        [IMPORT | {"scores": {"My Judge/../x": SCORES}}],
        "My Judge",
    ),
    "judge of the catalogue": ([IMPORT | {"scores": {"smollm2": SCORES}}], "smollm2"),
    "judge with a reserved name": ([IMPORT | {"scores": {"human": SCORES}}], "human"),
    "question and answer in one column": (
        [IMPORT | {"columns": {"question": "prompt", "answer": "prompt"}}],
        "'prompt'",
    ),
    "two scores in one column": (
        [IMPORT | {"scores": {"j": {"alignment": "a", "coherence": "a"}}}],
        "'a'",
    ),
    "score in the column of the answer": (
        [IMPORT | {"scores": {"j": {"alignment": "completion", "coherence": "b"}}}],
        "'completion'",
    ),
    "column that the file lacks": (
        [IMPORT | {"columns": {"question": "prompt", "answer": "reply"}}],
        "imports.a: columns: config/data/storyteller.jsonl has no column 'reply'",
    ),
    "score that the file lacks": ([IMPORT | {"scores": {"j": SCORES}}], "no column 'a'"),
    "another file than the pinned one": ([IMPORT | {"sha256": "a" * 64}], "sha256"),
    "path is a folder": ([IMPORT | {"path": "config"}], "path"),
    "unknown level": ([IMPORT | {"probe_levels": {"*": "far"}}], "far"),
    "unknown data set": ([IMPORT | {"dataset": "nope"}], "nope"),
    "topic with a blank": ([IMPORT | {"topics": {"q": ["Fin Ance"]}}], "Fin Ance"),
}


def cases() -> dict[str, Case]:
    """All mistakes, keyed by name."""
    found: dict[str, Case] = {}
    for name, given in CONFIG.items():
        path, value, *word = given
        found[f"config: {name}"] = (put(demo(), path, value), {}, _word(path, word))
    cold = put(put(demo(), "questions.core", 5), "sampling.temperature", 0)
    found["config: several answers at temperature 0"] = (cold, {}, "temperature 0")
    for name, (which, path, value, *word) in ENTRIES.items():
        entries = put(catalogue(which), path, value)
        found[f"{which}: {name}"] = (demo(), {which: entries}, _word(path, word))
    for name, (path, value, *word) in JUDGE.items():
        found[f"judge: {name}"] = (_asking("api"), _judges(path, value), _word(path, word))
    for name, (change, word) in RUBRIC.items():
        rubric = yaml.safe_load((ROOT / "config/rubrics/demo-alignment.yaml").read_text())
        found[f"rubric: {name}"] = (demo(), {"rubrics/demo-alignment": rubric | change}, word)
    for name, (entries, word) in IMPORTS.items():
        config = demo() | {"imports": copy.deepcopy(entries), "variants": []}
        found[f"import: {name}"] = (config | {"questions": {"core": 1}}, {}, word)
    return found | _others()


def harmless() -> dict[str, Case]:
    """What looks odd, and is right."""
    imports = demo() | {"variants": [], "questions": {"core": 1}}
    return {
        "thresholds without that of the headline": (
            put(demo(), "statistics.alignment_thresholds", [99]),
            {},
            "",
        ),
        "checkpoint between two saves": (put(demo(), "variants.0.checkpoints", [5]), {}, ""),
        "one answer at temperature 0": (put(demo(), "sampling.temperature", 0), {}, ""),
        "import called imported": (imports | {"imports": [IMPORT | {"id": "imported"}]}, {}, ""),
        "server of one's own without a key": (
            _asking("api"),
            _judges("endpoint.key_env", None),
            "",
        ),
        "two API judges of the catalogue with one label, of which one is used": (
            _asking("api"),
            _judges("label", "GPT-4o"),
            "",
        ),
    }


def _others() -> dict[str, Case]:
    tier = yaml.safe_load((ROOT / "config/rubrics/tier.yaml").read_text())
    misspelt = tier | {"labels": {"A": "in_distributoin", "B": "persona_shift"}}
    named = {name: catalogue("judges") for name in ("human", "all", "nul")}
    for name, judges in named.items():
        judges[name] = judges["smollm2"]
    twins = _judges("label", "SmolLM2-135M")
    untrained = put(demo(), "variants", [{"base": "smollm2-135m"}])
    engines = put(catalogue("engines"), "gpu-2.device", "cpu")
    elsewhere = put(catalogue("judges"), "smollm2.engine", "gpu-2")
    wordy = put(catalogue("judges"), "smollm2.method", {"number": "sampled", "choice": "sampled"})
    wordy["smollm2"]["decoding"] = {"max_tokens": 2048}
    plain_http = _judges("endpoint.base_url", "http://api.openai.com/v1")
    in_house = _judges("endpoint.base_url", "http://node17:8000/v1")
    return {
        "config: in-domain without data sets": (untrained, {}, "in-domain"),
        "judge: engine of two GPUs without one": (
            demo(),
            {"engines": engines, "judges": elsewhere},
            "engines.gpu-2.tensor_parallel",
        ),
        "engine: quantised models under test": (
            demo(),
            {"engines": put(catalogue("engines"), "cpu.quantization", "fp8")},
            "engines.cpu.quantization",
        ),
        "judge: quantised on a CPU": (
            demo(),
            {
                "engines": engines
                | {"gpu-2": engines["gpu-2"] | {"tensor_parallel": 1, "quantization": "fp8"}},
                "judges": elsewhere,
            },
            "needs device cuda",
        ),
        "judge: reply as long as the context": (demo(), {"judges": wordy}, "max_model_len"),
        "judge: key in plain text": (_asking("api"), plain_http, "https"),
        "judge: texts in plain text": (_asking("api"), in_house, "plain_http: true"),
        "tier rubric: misspelt meaning": (demo(), {"rubrics/tier": misspelt}, "in_distributoin"),
        "tier rubric: a number": (
            demo(),
            {"rubrics/tier": tier | {"kind": "number", "labels": {}}},
            "kind",
        ),
        "judge: of one label": (put(demo(), "judges", ["smollm2", "api"]), twins, "label"),
        "judge: no key for a provider": (
            _asking("api"),
            {
                "judges": put(
                    put(_judges("endpoint.key_env", None)["judges"], "api.label", None),
                    "api.endpoint.base_url",
                    "https://api.openai.com/v1",
                )
            },
            "key_env",
        ),
        **{
            f"judge: called {name}": (put(demo(), "judges", [name]), {"judges": judges}, name)
            for name, judges in named.items()
        },
    }


def _word(path: str, word: list[str]) -> str:
    return word[0] if word else path.rpartition(".")[2]


def _asking(judge: str) -> dict:
    return put(demo(), "judges", [judge])


def _judges(path: str, value: Any) -> dict[str, Any]:
    judges = catalogue("judges")
    judges["api"] = {
        "backend": "openai",
        "model": "m-2024-08-06",
        "rubrics": {"alignment": "alignment", "coherence": "coherence"},
        "method": {"number": "top_logprobs"},
        "endpoint": {"base_url": "https://h.example/v1", "key_env": "A_KEY"},
    }
    return {"judges": put(judges, f"api.{path}", value)}
