"""Fine-tunes that users bring, on the embedded model: a copied adapter gives the same answers."""

import shutil

import pytest
from test_sample import adapter, job, make_whole_model, run, variant  # noqa: F401

from em_tiers.download.entries import fetch_adapter
from em_tiers.errors import UserError
from em_tiers.tables import read_table

pytestmark = pytest.mark.heavy

ENGINE = {"adapters": "replace", "max_lora_rank": 64}


def greedy(job, folder, **changes):  # noqa: F811
    sampling = job["sampling"] | {"temperature": 0.0, "samples": {"core": 1}}
    places = {"journal": str(folder / "journal"), "output": str(folder / "responses.parquet")}
    run(job | {"sampling": sampling} | places | changes)
    return read_table(folder / "responses.parquet", "responses")


def test_a_copied_adapter_gives_the_same_answers(job, adapter, embedded_model, tmp_path):  # noqa: F811
    trained = greedy(job, tmp_path / "trained")
    copy = shutil.copytree(adapter, tmp_path / "elsewhere" / "my-run")
    for ours in ("manifest.json", "chat_template.jinja"):  # another tool leaves neither
        (copy / ours).unlink()
    fetched = tmp_path / "adapters" / "smol.adapter.my-run"
    source = {"type": "path", "path": str(copy)}
    fetch_adapter(source, fetched, [embedded_model.name], embedded_model, ENGINE)
    variants = [variant("smol", None), variant("smol.adapter.my-run", 0)]
    brought = greedy(job, tmp_path / "brought", adapters=[str(fetched)], variants=variants)
    same = ["question_id", "response", "finish_reason", "completion_tokens", "adapter_sha256"]
    assert brought.select(same).equals(trained.select(same))
    tuned = brought.filter(variant="smol.adapter.my-run")["response"].to_list()
    assert tuned != brought.filter(variant="smol")["response"].to_list()


def test_a_whole_model_with_its_bases_weights_is_refused(job, embedded_model, tmp_path):  # noqa: F811
    alone = {"adapters": [], "variants": [variant("smol", None)]}
    with pytest.raises(UserError, match="the same weights as its base model"):
        greedy(job, tmp_path, tuned_from=embedded_model, **alone)


@pytest.mark.slow
def test_a_whole_model_is_sampled_with_its_own_files(job, embedded_model, tmp_path):  # noqa: F811
    merged = make_whole_model(embedded_model, tmp_path / "merged")
    for file in embedded_model.iterdir():
        if file.is_file() and not (merged / file.name).exists() and file.suffix != ".safetensors":
            shutil.copy(file, merged)
    found = greedy(
        job,
        tmp_path,
        model=str(merged),
        tuned_from=embedded_model,
        adapters=[],
        variants=[variant("smol.model.merged", None) | {"dataset": "tales"}],
        model_identity={"id": "merged", "revision": "1"},
    )
    assert found["dataset"].to_list() == ["tales"] * 3
    assert found["adapter_sha256"].null_count() == 3
