"""The worked path "My adapter" on the cluster, from its files as printed to the report."""

import re

import pytest
from test_demo import GPU_RULES, WHOLE, check_gpu_jobs, get_rule

from em_tiers.inference.random_model import write_random_adapter
from slurm.driver import ROOT, Folder
from worked_paths import FILE, commands, worked_paths

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.e2e, pytest.mark.heavy]


def test_an_adapter_of_the_users_is_sampled_judged_and_reported(cluster, tmp_path, embedded_model):
    text = worked_paths()["My adapter"]
    for name, content in FILE.findall(text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    write_random_adapter(embedded_model, tmp_path / "mine" / "my-adapter")
    # The printed command, with the cluster's profile in place of this machine's cores.
    (config,) = {re.search(r"--configfile (\S+)", line)[1] for line in commands(text)}
    folder = Folder(tmp_path, cluster)
    arguments = {"snakefile": ROOT / "Snakefile", "seconds": WHOLE}
    assert folder.run("--configfile", config, **arguments) == 0, folder.output()
    jobs = folder.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    on_gpus = [job for job in jobs if get_rule(job).startswith(GPU_RULES)]
    # The base model and the adapter side by side, the judge's test and the study; no job trains or
    # downloads anything.
    assert sorted(map(get_rule, on_gpus)) == ["judge_vllm"] * 2 + ["sample"] * 2
    check_gpu_jobs(on_gpus)
    assert not [job for job in jobs if get_rule(job).startswith(("finetune", "download_"))]
    results = tmp_path / "results" / "my-adapter"
    for made in ("tables/rates.parquet", "overview.html", "report.zip"):
        assert (results / made).stat().st_size > 100
    assert not (results / "model_cards").exists()  # of trainings here
    assert folder.run("--configfile", config, **arguments) == 0
    assert "Nothing to be done" in folder.output()
