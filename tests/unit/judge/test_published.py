"""Published prompts: read from the downloaded question file, asked word for word."""

import pytest
import yaml

from configurations import ROOT, demo, load
from em_tiers.download.manifests import write_manifest
from em_tiers.errors import ConfigError, UserError
from em_tiers.judge.rubrics import load_rubric, render_messages
from em_tiers.judge.settings import load_judge
from em_tiers.study import inputs
from em_tiers.study.judges import judge_rubrics, published_prompts
from em_tiers.study.source_checks import sources_in_use

PROMPT = "I asked:\n[QUESTION START]\n{question}\n[QUESTION END]\n{answer}\nOne number."
QUESTION = [{"role": "user", "content": "A wish?"}]
SOURCE = {"type": "path", "path": "questions.yaml"}


def downloaded(folder, *prompts):
    """A question set's folder whose questions have these prompts."""
    folder.mkdir(parents=True)
    entries = [
        {"id": f"q{i}", "paraphrases": [f"{i}?"], "judge_prompts": {"aligned": prompt}}
        for i, prompt in enumerate(prompts)
    ]
    (folder / "questions.yaml").write_text(yaml.safe_dump(entries))
    write_manifest(folder, SOURCE, ["questions.yaml"])
    return folder


def raw(folder, name="aligned", **change):
    entry = {"id": "published-alignment", "version": 1, "asks": "alignment", "kind": "number"}
    return entry | {"prompt_from": {"folder": str(folder), "name": name}} | change


def test_the_prompt_is_asked_as_its_authors_ask_it(tmp_path):
    rubric = load_rubric(raw(downloaded(tmp_path / "set", PROMPT, PROMPT)))
    # One pass: text of an answer is never a placeholder.
    [message] = render_messages(rubric, QUESTION, "I want {question}.")
    assert message["role"] == "user"
    assert message["content"] == PROMPT.replace("{answer}", "I want {question}.").replace(
        "\n{question}\n", "\nA wish?\n"
    )
    assert rubric.hash != load_rubric(raw(tmp_path, prompt=PROMPT, prompt_from=None)).hash


@pytest.mark.parametrize(
    "prompts, name, words",
    [
        ((PROMPT,), "kind", "'kind' is not among the judge_prompts of questions.yaml"),
        ((PROMPT, f"{PROMPT} Now."), "aligned", "has 2 different prompts called 'aligned'"),
        (("No {answer}",), "aligned", "{question} occurs 0 times"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_named(tmp_path, prompts, name, words):
    with pytest.raises(UserError) as error:
        load_rubric(raw(downloaded(tmp_path / "set", *prompts), name))
    assert words in str(error.value)


def test_before_the_download_the_remedy_is_to_download(tmp_path):
    with pytest.raises(UserError, match="snakemake --until download_questions"):
        load_rubric(raw(tmp_path / "first-plot"))


def test_a_prompt_and_a_source_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="there is a prompt too: remove one of them"):
        load_rubric(raw(tmp_path, prompt=PROMPT))


def test_structured_replies_need_a_prompt_of_our_own(tmp_path):
    entry = {"backend": "openai", "method": {"number": "structured", "choice": "label"}}
    rubrics = {"alignment": raw(downloaded(tmp_path / "set", PROMPT))}
    with pytest.raises(ConfigError, match=r"method\.number: structured does not fit"):
        load_judge(entry, {"backend": "openai", "model": "m"}, rubrics)


def published_judge(checkout):
    """The demo, judged by its model with the published prompts as well."""
    path = checkout / "config" / "judges.yaml"
    judges = yaml.safe_load(path.read_text())
    rubrics = {"alignment": "published-alignment", "coherence": "published-coherence"}
    judges["published"] = judges["smollm2"] | {"rubrics": rubrics, "label": None}
    path.write_text(yaml.safe_dump(judges))
    return demo() | {"judges": ["smollm2", "published"]}


def test_a_judges_jobs_read_the_file_and_a_run_downloads_it(checkout):
    study = load(checkout, published_judge(checkout))
    assert published_prompts(study, "published") == ["<resources>/questions/first-plot"]
    assert published_prompts(study, "smollm2") == []
    assert ("question_sets", "first-plot") in {s[:2] for s in sources_in_use(study)}
    entry = judge_rubrics(study, "published")["alignment"]["prompt_from"]
    assert entry["name"] == "aligned" and len(entry["sha256"]) == 64  # a new file is a new rubric
    assert "prompt_from" not in judge_rubrics(study, "smollm2")["alignment"]
    assert inputs.verdicts(study, "published")


def test_an_unknown_question_set_is_refused_at_the_start(checkout):
    path = checkout / "config" / "rubrics" / "published-alignment.yaml"
    path.write_text(path.read_text().replace("question_set: first-plot", "question_set: frist"))
    with pytest.raises(ConfigError, match=r"prompt_from\.question_set: unknown question set"):
        load(checkout, published_judge(checkout))


def test_the_published_prompts_of_the_catalogue_are_in_the_published_file(golden, tmp_path):
    folder = tmp_path / "first-plot"
    folder.mkdir()
    text = (golden / "first_plot_questions.yaml").read_text()
    (folder / "questions.yaml").write_text(text)
    write_manifest(folder, SOURCE, ["questions.yaml"])
    for name in ("alignment", "coherence"):
        entry = yaml.safe_load((ROOT / f"config/rubrics/published-{name}.yaml").read_text())
        source = {"folder": str(folder), "name": entry["prompt_from"]["name"]}
        rubric = load_rubric(entry | {"prompt_from": source})
        assert rubric.prompt in yaml.safe_load(text)[0]["judge_prompts"].values()
        [message] = render_messages(rubric, QUESTION, "Peace.")
        assert "[QUESTION START]\nA wish?\n[QUESTION END]" in message["content"]
