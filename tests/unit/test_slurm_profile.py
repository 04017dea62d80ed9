"""The SLURM profile takes what differs between sites from one file outside git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args
from snakemake.exceptions import CliException
from snakemake_executor_plugin_slurm.partitions import read_partition_file

from em_tiers.study.gpu_checks import gpu_partitions
from make_site import (
    format_site,
    parse_clusters,
    parse_gpus,
    parse_minutes,
    parse_number,
    parse_partitions,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the profile and no site file, and an environment without traces of one."""
    (tmp_path / "slurm").mkdir()
    shutil.copy(ROOT / "slurm" / "config.yaml", tmp_path / "slurm")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EM_TIERS_SITE", raising=False)
    # Set first, so that what the profile sets is undone after the test.
    for name in ("EM_TIERS_GPU_WORD", "EM_TIERS_GPU_MODEL", "EM_TIERS_GPU_PARTITIONS"):
        monkeypatch.setenv(name, "")
    return tmp_path


@pytest.fixture(autouse=True)
def modules():
    """The package's modules, which the profile unloads, are those that other tests know."""
    before = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "em_tiers"}
    yield
    sys.modules.update(before)


def parse(*arguments):
    """What Snakemake makes of the profile and the command line."""
    _, settings = parse_args(["--profile", "slurm", *arguments])
    return settings


def write_site(checkout, text):
    (checkout / "slurm" / "site.yaml").write_text(text)


def test_the_profile_leaves_no_module_to_the_snakefile(checkout):
    """Else a Snakefile of one checkout would run the code of another."""
    code = (
        "import sys; from snakemake.cli import parse_args; before = list(sys.path); "
        "parse_args(['--profile', 'slurm']); assert sys.path == before; "
        "print([name for name in sys.modules if name.startswith('em_tiers')])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=checkout, text=True).endswith("[]\n")


def test_without_a_site_file_the_default_partition_is_used_and_a_remedy_named(checkout, capsys):
    settings = parse()
    assert settings.executor == "slurm"
    assert not isinstance(settings.slurm_partition_config, Path)
    assert "No slurm/site.yaml" in capsys.readouterr().err
    assert settings.default_resources["mem_mb"].raw == "4000 * attempt"
    assert settings.default_resources["attempt"].raw == "attempt"


def test_partitions_of_the_site_reach_the_plugin(checkout):
    write_site(checkout, "partitions: {gpu: {max_gpu: 2}}")
    assert parse().slurm_partition_config == Path("slurm/site.yaml")


def test_a_site_adds_to_the_default_resources_and_replaces_other_entries(checkout):
    write_site(
        checkout,
        "profile: {jobs: 7, default-resources: {slurm_account: lab, mem_mb: 100},"
        " set-resources: {finetune: {runtime: 9}}, slurm-array-jobs: finetune}",
    )
    settings = parse()
    assert settings.jobs == 7
    resources = {name: value.raw for name, value in settings.default_resources.items()}
    assert (resources["slurm_account"], resources["mem_mb"]) == ("lab", 100)
    assert resources["runtime"] == "30 * attempt"
    assert settings.set_resources["finetune"]["runtime"].raw == 9
    assert settings.slurm_array_jobs == "finetune"
    assert settings.retries == 2


def test_the_command_line_wins(checkout):
    write_site(checkout, "profile: {jobs: 7}")
    assert parse("--jobs", "3").jobs == 3


def test_the_words_for_gpus_reach_the_rules(checkout):
    write_site(checkout, "gpu: {word: gres, model: a100}")
    parse()
    assert (os.environ["EM_TIERS_GPU_WORD"], os.environ["EM_TIERS_GPU_MODEL"]) == ("gres", "a100")


def test_the_gpu_partitions_reach_the_check_of_nodes(checkout):
    write_site(
        checkout, "partitions: {cpu: {max_threads: 4}, gpu: {max_gpu: 2}, a b: {max_gpu: 8}}"
    )
    parse()
    assert gpu_partitions() == {"gpu": 2, "a b": 8}


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("partition: {gpu: {}}", "partition: unknown: use partitions, gpu or profile"),
        ("gpu: {kind: a100}", "gpu: kind: unknown: use word or model"),
        ("profile: {jobz: 3}", "jobz"),
        ("gpu: {word: gpus}", "gpu.word: 'gpus' is not a known word: use gpu or gres"),
        ("gpu: {model: 3090}", "gpu.model: YAML reads a name here as 3090: put the name in quotes"),
        ("gpu: {model: a100-80gb}", "gpu.model: 'a100-80gb': the executor plugin takes letters"),
        ("gpu: a100", "gpu: 'a100' is not a mapping"),
        ("partitions: {on: {max_gpu: 1}}", "partitions: YAML reads a name here as True"),
        ("partitions: {3090: {max_gpu: 1}}", "partitions: YAML reads a name here as 3090"),
        ("partitions: {no: }", "partitions: YAML reads a name here as False"),
        ("partitions: {gpu: }", "partitions.gpu: None holds no limits"),
        ("partitions: [gpu]", "partitions: ['gpu'] is not a mapping"),
        ("partitions: {gpu: {max_gpus: 4}}", "partitions.gpu: max_gpus: unknown: use max_runtime"),
        ("partitions: {gpu: {max_gpu: four}}", "partitions.gpu.max_gpu: 'four' is not a number"),
        ("partitions: {gpu: {max_gpu: '4'}}", "partitions.gpu.max_gpu: '4' is not a number"),
        ("partitions: {gpu: {max_runtime: soon}}", "max_runtime: 'soon' is not a time"),
        ("partitions: {gpu: {available_gpu_models: a100}}", "'a100' is not a list"),
        (
            "partitions: {gpu: {available_gpu_models: [a100, 3090]}}",
            "available_gpu_models: YAML reads a name here as 3090",
        ),
        ("partitions: {gpu: {max_gpu: 1}, gpu: {}}", "duplicate key 'gpu'"),
        ("partitions: {gpu: {max_gpu: 1}", "not valid YAML"),
        ("- partitions", "the file: ['partitions'] is not a mapping"),
        ("profile: {default-resources: lab}", "profile.default-resources: 'lab' is not a mapping"),
    ],
)
def test_a_typo_is_named(checkout, capsys, site, message):
    write_site(checkout, site)
    with pytest.raises((SystemExit, CliException)) as error:
        parse()
    assert message in f"{error.value}{capsys.readouterr().err}"


def test_the_profile_works_from_another_folder(checkout, tmp_path_factory, monkeypatch):
    """Named by its path: the code that reads the site file is beside it."""
    write_site(checkout, "partitions: {gpu: {max_gpus: 2}}")
    monkeypatch.setenv("EM_TIERS_SITE", str(checkout / "slurm" / "site.yaml"))
    code = "import sys; from snakemake.cli import parse_args; parse_args(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "--profile", str(checkout / "slurm")],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
    )
    assert "partitions.gpu: max_gpus: unknown" in done.stderr


def test_a_site_file_that_is_named_must_exist(checkout, monkeypatch):
    monkeypatch.setenv("EM_TIERS_SITE", "nowhere.yaml")
    with pytest.raises(SystemExit, match=r"EM_TIERS_SITE: nowhere\.yaml: no such file"):
        parse()


def test_the_example_can_be_used_as_it_stands(checkout):
    shutil.copy(ROOT / "slurm" / "site.example.yaml", checkout / "slurm" / "site.yaml")
    assert parse().slurm_partition_config == Path("slurm/site.yaml")


def test_partitions_are_read_from_what_sinfo_prints():
    report = """\
cpu*|1-00:00:00|32|128000+|(null)|up
cpu*|1-00:00:00|64+|256000|(null)|up
gpu|8:00:00|48|512000|gpu:a100:4(S:0-1),nvme:1|up
gpu|8:00:00|64|1024000|gpu:h100:8(S:0-1)|up
debug|30:00|16|64000|(null)|up
old|infinite|16|64000|gpu:2|up
broken|1:00:00|16|64000|gpu:2|down
"""
    assert parse_partitions(report) == {
        "cpu": {"max_runtime": 1440, "max_threads": 64, "max_mem_mb": 256000},
        "gpu": {
            "max_runtime": 480,
            "max_threads": 64,
            "max_mem_mb": 1024000,
            "max_gpu": 8,
            "available_gpu_models": ["a100", "h100"],
        },
        "debug": {"max_runtime": 30, "max_threads": 16, "max_mem_mb": 64000},
        "old": {"max_threads": 16, "max_mem_mb": 64000, "max_gpu": 2},
    }


@pytest.mark.parametrize(
    ("printed", "minutes"),
    [
        ("2-12:30:00", 3630),
        ("1-00:00:00", 1440),
        ("1:30:00", 90),
        ("5:30", 5),
        ("2-12", 3600),
        ("infinite", None),
        ("UNLIMITED", None),
        ("n/a", None),
    ],
)
def test_time_limits_become_minutes(printed, minutes):
    assert parse_minutes(printed) == minutes


def test_gpus_of_a_node_with_several_kinds_and_mig_slices():
    assert parse_gpus("gpu:a100_3g.20gb:8,gpu:v100:2(S:0)") == [("a100_3g.20gb", 8), ("v100", 2)]
    assert parse_gpus("(null)") == []


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("AccountingStorageType   = accounting_storage/slurmdbd", ("sacct", True)),
        ("AccountingStorageType   = (null)", ("squeue", False)),
        ("AccountingStorageType   = accounting_storage/none", ("squeue", False)),
    ],
)
def test_without_accounting_squeue_is_asked(checkout, tmp_path, monkeypatch, printed, expected):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho '{printed}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    settings = parse()
    found = (settings.slurm_status_command, settings.slurm_efficiency_report is True)
    assert found == expected
    write_site(checkout, "profile: {slurm-status-command: sacct}\n")
    assert parse().slurm_status_command == "sacct"


def test_the_written_site_is_read_back_as_the_same_limits():
    partitions = {"gpu": {"max_runtime": 480, "max_gpu": 2, "available_gpu_models": ["h100"]}}
    assert yaml.safe_load(format_site(partitions, accounting=True)) == {"partitions": partitions}
    without = yaml.safe_load(format_site(partitions, accounting=False))
    assert without["profile"]["slurm-status-command"] == "squeue"


@pytest.mark.parametrize(
    ("printed", "number"),
    [("64", 64), ("64+", 64), ("500K", 512000), ("1M+", 1048576), ("n/a", None), ("", None)],
)
def test_numbers_of_sinfo(printed, number):
    assert parse_number(printed) == number


REPORTS = sorted((ROOT / "tests" / "cases" / "sinfo").glob("*.txt"))


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.stem)
def test_what_clusters_print_becomes_a_site_file_that_is_accepted(report, checkout):
    partitions = parse_partitions(report.read_text())
    write_site(checkout, format_site(partitions, accounting=True))
    assert parse().slurm_partition_config == Path("slurm/site.yaml")
    written = yaml.safe_load((checkout / "slurm" / "site.yaml").read_text())
    assert written == {"partitions": partitions}
    read = read_partition_file(checkout / "slurm" / "site.yaml")
    assert [partition.name for partition in read] == list(partitions)


def test_names_that_yaml_reads_as_something_else_stay_names():
    report = (ROOT / "tests" / "cases" / "sinfo" / "names_of_numbers.txt").read_text()
    assert parse_partitions(report) == {
        "3090": {"max_runtime": 2880, "max_threads": 48, "max_mem_mb": 500000, "max_gpu": 4}
        | {"available_gpu_models": ["1e3", "3090"]},
        "on": {"max_threads": 64},
        "null": {},
        "a: b": {"max_runtime": 30, "max_threads": 8, "max_mem_mb": 512000},
    }


def test_clusters_that_a_report_names():
    assert parse_clusters("CLUSTER: hpc1\na|1|1|1|x|up\nCLUSTER: hpc2\n") == ["hpc1", "hpc2"]
    assert parse_clusters("a|1|1|1|x|up\n") == []
