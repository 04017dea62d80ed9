"""Rules keep their names in every study, so that users can address all its jobs at once."""

import re
import subprocess
import sys

import polars as pl
import pytest

from workdir import ROOT, Run, Workdir

pytestmark = pytest.mark.e2e

VARIANTS = [{"base": "tiny", "datasets": ["tales"], "recipe": "six-steps", "training_seeds": [0]}]


@pytest.fixture
def work(tmp_path, embedded_model):
    """The smallest case, of which nothing runs here."""
    return Workdir(tmp_path / "work", "smallest", embedded_model)


def jobs_in_detail(output: str, rule: str) -> list[str]:
    """The details that a dry run prints for a rule's jobs."""
    return re.findall(rf"^rule {rule}:\n((?:    .*\n)+)", output, re.MULTILINE)


def resource(job: str, name: str) -> str:
    return re.search(rf"\b{name}=([^,\s]+)", job)[1]


def test_the_rules_do_not_depend_on_the_study(work):
    few = work.run("--list-rules").output
    work.config["variants"] = [VARIANTS[0] | {"training_seeds": list(range(200))}]
    work.config["judges"] = ["tiny-judge", "second-judge", "renamed-judge"]
    imported = {"role": "benign", "path": "answers.csv", "columns": {"answer": "answer"}}
    (work.folder / "answers.csv").write_text("question,answer\na,b\n")
    imported["columns"] = {"question": "question", "answer": "answer"}
    work.config["imports"] = [imported | {"id": f"paper-{number}"} for number in range(5)]
    many = work.run("--list-rules").output
    assert many == few
    assert {"sample", "judge_vllm", "judge_api", "import_responses"} <= set(few.split())


def test_a_dry_run_shows_what_each_job_asks_for(work):
    output = work.run("-n").output
    for rule, number in (("finetune", 1), ("sample", 2), ("judge_vllm", 1)):
        jobs = jobs_in_detail(output, rule)
        assert len(jobs) == number
        for job in jobs:
            assert (resource(job, "gpu"), resource(job, "mem_mb")) == ("1", "8540")
            assert resource(job, "runtime") == "240"


def test_the_memory_of_all_judge_jobs_is_set_at_once(work):
    work.config["variants"] = [VARIANTS[0] | {"training_seeds": list(range(20))}]
    work.config |= {"judges": ["tiny-judge", "second-judge"], "variants_per_judge_job": 8}
    output = work.run("-n", "--set-resources", "judge_vllm:mem_mb=64000").output
    jobs = jobs_in_detail(output, "judge_vllm")
    assert len(jobs) > 2
    assert {resource(job, "mem_mb") for job in jobs} == {"64000"}
    assert {resource(job, "mem_mb") for job in jobs_in_detail(output, "sample")} == {"8540"}


def test_until_stops_behind_sampling(work):
    jobs = work.run("-n", "--until", "sample").jobs
    assert jobs["sample"] == 2
    assert not {"judge_vllm", "assign_tiers"} & set(jobs)


def test_rule_script_log_and_benchmark_share_a_name():
    """Of every rule with a script; only the folders around the names differ."""
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for name, body in re.findall(
            r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE
        ):
            found[name] = body
    assert len(found) > 30
    for name, body in found.items():
        assert f'"../scripts/{name}.py"' in body, name
        assert re.search(rf'"<logs>/{name}[./]', body), name
        assert "benchmark:" not in body or re.search(rf'"<benchmarks>/{name}[./]', body), name


def test_the_workflow_is_a_module_of_another_one(tmp_path):
    """The other workflow has its own folder, configuration and rules, and runs for real."""
    work = Workdir(tmp_path, "import_only", tmp_path)
    (tmp_path / "Snakefile").write_text(
        "module em:\n"
        f"    snakefile: {str(ROOT / 'Snakefile')!r}\n"
        f"    config: {work.config!r}\n"
        "use rule * from em as em_*\n"
        "rule everything:\n"
        "    default_target: True\n"
        f"    input: 'results/{work.config['experiment']}/tables/rates.parquet'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = Run(done.returncode, done.stdout + done.stderr).jobs
    assert (jobs["em_import_responses"], jobs["em_assign_tiers"]) == (2, 1)
    assert pl.read_parquet(work.results / "tables" / "rates.parquet")["n"].max() == 48
