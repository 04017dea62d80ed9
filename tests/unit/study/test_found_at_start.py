"""Every error of a user that job code can raise, and where a wrong configuration is found first.

The lists are complete: a new `raise UserError` outside study/ fails the first test until it is said
here whether a configuration can cause it, and if so, which check before any GPU job finds it.
"""

import ast
import traceback
from pathlib import Path

import pytest
import yaml

from config_mistakes import Case, cases
from configurations import catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.checks import check_ready
from em_tiers.study.script_imports import SCRIPTS, imported_modules

ERRORS = ("UserError", "ConfigError", "TemplateError")

# Never a value of the configuration: files that were damaged or exchanged, archives, downloads (the
# first jobs of a run, on the login node), the machine, a server.
NOT_CONFIGURATION = (
    "em_tiers/archive/",
    "em_tiers/download/",
    "em_tiers/report/",
    "em_tiers/study/",
    "em_tiers/errors.py",
    "em_tiers/files.py",
    "em_tiers/gpus.py",
    "em_tiers/journal.py",
    "em_tiers/lease.py",
    "em_tiers/placeholders.py",
    "em_tiers/tables.py",
    "em_tiers/inference/adapter_folder.py",
    "archive.py",
    "assign_tiers.py",
    "build_report.py",
    "check_prompts.py",
    "compare_results.py",
    "import_responses.py:main",  # another file since the start: check_imported_hash
    "plan_requests.py",
    "push_adapter.py",
    "restore_archive.py",
    "summarize_labels.py",  # labels of other answers than the study's
    "em_tiers/inference/engine_failures.py",
    "em_tiers/inference/engine.py",  # the machine, and what vLLM says of it
    "em_tiers/inference/replicas.py",  # the same, of several engines
    "em_tiers/inference/engine_settings.py:vllm_version",
    "em_tiers/inference/sampling.py:check_applied",  # a training that changed nothing
    "em_tiers/api/client.py:read_key",  # the environment: check_keys, in test_before_run
    "em_tiers/api/openai_batches.py",  # what the provider says of a batch
    "em_tiers/api/sending.py",  # the endpoint is dead
    "em_tiers/judge/api_run.py",
    "em_tiers/judge/usable_replies.py",
    "judge_api.py",  # what the endpoint answers
    "sample_api.py",
    "em_tiers/inference/api_answers.py",
    "em_tiers/train/arguments.py:visible_gpus",
    "em_tiers/train/launch.py",
    "em_tiers/train/trackers.py",  # a package that is not in the environment
    "em_tiers/train/trainer.py:run",  # memory
    "em_tiers/train/trainer.py:ResponseTrainer.log",  # a loss that is not a number
    "em_tiers/train/encoded_rows.py:read_training_rows",
)

# Found by config/schema.yaml with the same values, before the function is reached; or a mistake of
# the workflow itself.
SCHEMA = (
    "em_tiers/inference/engine_settings.py:complete_settings",
    "em_tiers/inference/sampling.py:read_question_tables",
    "em_tiers/inference/sampling.py:samples_of",
    "em_tiers/api/spending.py:Budget.__init__",
    "em_tiers/tiers/definitions.py:definition_named",
    "em_tiers/tiers/rules.py:_read_rule",
)

# Found by check_prompts, on a CPU, before any GPU job.
CHECK_PROMPTS = (
    "em_tiers/inference/chat.py",
    "em_tiers/inference/engine_settings.py:_allocated_rank",  # see recipe_checks: rank
    "em_tiers/inference/sampling.py:check_lengths",
    "em_tiers/judge/candidates.py",
    "em_tiers/judge/number_trie.py",
    "em_tiers/judge/published.py",  # at the start where the file is there
    "em_tiers/thinking.py",
    "em_tiers/train/encoded_rows.py:check_truncation",
    "em_tiers/train/encoded_rows.py:encode_rows",
    "em_tiers/train/callbacks.py:Keeper.on_train_begin",
    "em_tiers/train/trainer.py:build_trainer",
)

# Found by the preparation of downloaded data, on a CPU, before any GPU job: check_prompts needs its
# output. Local files are read at the start already, by functions of START.
PREPARATION = ("prepare_dataset.py", "em_tiers/prepare/")

# Modules that the start runs as a whole. Their functions in START are examples.
START_MODULES = (
    "em_tiers/judge/rubrics.py",
    "em_tiers/judge/settings.py",
    "em_tiers/strict_yaml.py",
    "em_tiers/tiers/rules.py",
)

# Found at the start by the same function: {function: name of a case}.
START = {
    "em_tiers/api/extras.py:check_extras": "judge: key in a header",
    "em_tiers/api/base_url.py:split_base_url": "judge: port too large",
    "em_tiers/judge/rubrics.py:load_rubric": "rubric: unknown placeholder",
    "em_tiers/judge/settings.py:_check_methods": "judge: opening of an API",
    "em_tiers/judge/settings.py:check_decoding": "judge: thoughts and one token",
    "em_tiers/judge/settings.py:load_judge": "start: rubric in another role",
    "em_tiers/train/start.py:check_shape": "start: adapter of another rank",
    "em_tiers/prepare/questions.py:read_questions": "start: questions in a mapping",
    "em_tiers/prepare/questions.py:_question": "start: question of an unknown key",
    "em_tiers/prepare/questions.py:_paraphrases": "start: question without a text",
    "em_tiers/prepare/questions.py:_text": "start: system text that is a number",
    "em_tiers/prepare/questions.py:_tags": "start: topic with a blank",
    "em_tiers/prepare/row_formats.py:row_reader": "start: column of another format",
    "em_tiers/tiers/label_sheet.py:_read_labels": "config: labels are no table",
    "em_tiers/tiers/label_sheet.py:_refuse_rows": "start: label of no meaning",
    "em_tiers/tiers/label_sheet.py:check_labels": "start: sheet without labels",
    "em_tiers/tiers/outcomes.py:read_human_labels": "start: table with an unknown tier",
    "em_tiers/tiers/rules.py:_read_condition": "tier_rules: rule that gives a number",
    "em_tiers/tiers/rules.py:read_rules": "start: rule with a name of the workflow",
    "em_tiers/train/arguments.py:check_batch": "recipes: three GPUs",
    "em_tiers/train/arguments.py:check_steps": "recipes: warm-up after the end",
}
# Found at the start by another check, because the function needs what is not there yet.
START_OTHERWISE = {"summarize_rates.py:main": "config: only near questions"}


def start_cases() -> dict[str, Case]:
    """Mistakes beside those of config_mistakes, one for each function that needs one."""
    sheet = {"labels.csv": "item,question,answer,tier,labeller,note\nab,q,a,evil,me,\n"}
    empty = {"labels.csv": "item,question,answer,tier,labeller,note\nab,q,a,,me,\n"}
    table = {"labels.csv": "response_key,tier\nab,evil\n"}
    labelled = put(demo(), "human_labels", "config/labels.csv")
    question = {"id": "a", "paraphrases": ["Why?"]}
    columns = put(catalogue("datasets"), "storyteller.columns", {"instruction": "x"})
    other = put(catalogue("judges"), "smollm2.rubrics.alignment", "coherence")
    rules = put(catalogue("tier_rules"), "standard.rules.0.name", "no_rule")
    wider = put(catalogue("recipes"), "wider", catalogue("recipes")["demo-lora"] | {"rank": 32})
    start = {"base": "smollm2-135m", "datasets": ["support-desk"], "recipe": "wider"}
    start |= {"start_from": "smollm2-135m.storyteller.demo-lora.s0"}
    sequence = put(demo(), "variants", [*demo()["variants"], start])
    found = {
        "adapter of another rank": (sequence, {"recipes": wider}, ""),
        "rubric in another role": (demo(), {"judges": other}, ""),
        "questions in a mapping": (demo(), {"questions/core": question}, ""),
        "question of an unknown key": (demo(), {"questions/core": [question | {"x": 1}]}, ""),
        "question without a text": (
            demo(),
            {"questions/core": [question | {"paraphrases": []}]},
            "",
        ),
        "system text that is a number": (
            demo(),
            {"questions/core": [question | {"system": 7}]},
            "",
        ),
        "topic with a blank": (demo(), {"questions/core": [question | {"topics": ["a b"]}]}, ""),
        "column of another format": (demo(), {"datasets": columns}, ""),
        "label of no meaning": (labelled, sheet, ""),
        "sheet without labels": (labelled, empty, ""),
        "table with an unknown tier": (labelled, table, ""),
        "rule with a name of the workflow": (demo(), {"tier_rules": rules}, ""),
    }
    return {f"start: {name}": case for name, case in found.items()}


CASES = cases() | start_cases()


def raised() -> set[str]:
    """FILE:FUNCTION of each `raise` of an error that is the user's."""
    found: set[str] = set()
    for path in SCRIPTS.rglob("*.py"):
        _visit(ast.parse(path.read_text("utf-8")), path.relative_to(SCRIPTS).as_posix(), [], found)
    return found


def _visit(node: ast.AST, file: str, scope: list[str], found: set[str]) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope = [*scope, node.name]
    error = node.exc if isinstance(node, ast.Raise) else None
    if isinstance(error, ast.Call) and getattr(error.func, "id", None) in ERRORS:
        found.add(f"{file}:{'.'.join(scope)}")
    for below in ast.iter_child_nodes(node):
        _visit(below, file, scope, found)


LISTED = (
    *NOT_CONFIGURATION,
    *SCHEMA,
    *CHECK_PROMPTS,
    *PREPARATION,
    *START_MODULES,
    *START,
    *START_OTHERWISE,
)


def test_every_error_of_a_user_is_listed():
    unlisted = sorted(name for name in raised() if not name.startswith(LISTED))
    assert not unlisted, (
        f"{unlisted}: say in this file whether a configuration can cause them, and where they are "
        "found before a GPU job"
    )


def test_nothing_is_listed_that_is_gone():
    found = raised()
    listed = (*SCHEMA, *CHECK_PROMPTS, *PREPARATION, *START_OTHERWISE)
    gone = [name for name in listed if not any(other.startswith(name) for other in found)]
    assert not gone


@pytest.mark.parametrize("function", START)
def test_the_start_calls_what_the_job_calls(function, checkout):
    """The message at the start comes from the very function."""
    error = refused(checkout, START[function])
    file, name = function.split(":")
    frames = {
        (Path(frame.filename).as_posix(), frame.name)
        for link in (error, error.__cause__)
        if link
        for frame in traceback.extract_tb(link.__traceback__)
    }
    assert any(path.endswith(file) and name == called for path, called in frames), str(error)


@pytest.mark.parametrize("function", START_OTHERWISE)
def test_the_start_finds_what_the_job_would(function, checkout):
    assert "no question is on the level" in str(refused(checkout, START_OTHERWISE[function]))


def test_check_prompts_runs_the_code_that_jobs_run():
    """What it finds is found by modules of the jobs, or by modules that it has for them."""
    modules = {p.relative_to(SCRIPTS).as_posix() for p in imported_modules(_script())}
    own = {"em_tiers/train/trainer.py", "em_tiers/inference/engine_settings.py"}
    own |= {"em_tiers/train/callbacks.py"}
    files = {name.partition(":")[0] for name in CHECK_PROMPTS} - own
    assert files <= modules
    assert {"em_tiers/train/row_checks.py", "em_tiers/train/arguments.py"} <= modules


def _script() -> Path:
    return SCRIPTS / "check_prompts.py"


@pytest.mark.parametrize("rule", ["finetune", "sample", "judge"])
def test_gpu_jobs_wait_for_the_check(rule):
    text = (SCRIPTS.parent / "rules" / f"{rule}.smk").read_text()
    assert "checked=lambda wildcards: get_checked(" in text
    if rule == "finetune":
        assert "checked_base=lambda wildcards: get_checked_base(" in text


def refused(checkout, name: str) -> ConfigError:
    """The error with which a case is refused."""
    config, files, _ = CASES[name]
    for file, content in files.items():
        if file.endswith(".csv"):
            (checkout / "config" / file).write_text(content)
        else:
            (checkout / "config" / f"{file}.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        check_ready(load(checkout, config))
    return caught.value
