"""Container images: shown, refused while missing, and used by every rule that has software."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from em_tiers.errors import ConfigError
from em_tiers.study.images import check_images, describe_images

ROOT = Path(__file__).parents[3]


def test_images_that_are_missing_are_said_and_refused(tmp_path):
    there, missing = tmp_path / "workflow.sif", tmp_path / "cuda.sif"
    there.touch()
    images = {"cuda": str(missing), "workflow": str(there)}
    lines = describe_images(images, "--bind /data")
    assert lines == [
        f"Container of rules with envs/cuda.yaml: {missing} (missing: make images)",
        f"Container of rules with envs/workflow.yaml: {there}",
        "GPU jobs in containers see no GPU without --apptainer-args=--nv.",
    ]
    assert len(describe_images(images, "--nv --bind /data")) == 2
    with pytest.raises(ConfigError, match=r"cuda\.sif is missing"):
        check_images(images)
    check_images({"workflow": str(there)})


def test_each_rule_with_software_has_a_container_of_the_same_name():
    for file in (ROOT / "rules").glob("*.smk"):
        text = file.read_text("utf-8")
        conda = re.findall(r'^    conda:\n        "\.\./envs/(\w+)\.yaml"$', text, re.MULTILINE)
        image = re.findall(r'^    container:\n        IMAGES\["(\w+)"\]$', text, re.MULTILINE)
        assert image == conda, file.name


@pytest.mark.parametrize("name", ["cuda", "workflow"])
def test_a_recipe_installs_its_lock(name):
    recipe = (ROOT / "envs" / f"{name}.def").read_text("utf-8")
    files = re.search(r"^%files\n((?:    .*\n)+)", recipe, re.MULTILINE)[1].split()
    assert (ROOT / files[0]).is_file()
    assert files[0] == f"envs/{name}.txt"
    assert f"install_packages.py {files[1]}" in recipe


def test_a_dry_run_shows_the_containers(tmp_path):
    """Snakemake asks apptainer for its version only; here a script says one."""
    apptainer = tmp_path / "apptainer"
    apptainer.write_text("#!/bin/sh\necho apptainer version 1.4.2\n")
    apptainer.chmod(0o755)
    done = subprocess.run(
        [
            *[sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--nolock"],
            *["--sdm", "apptainer", "-s", ROOT / "Snakefile"],
            *[
                "--configfile",
                ROOT / "config" / "demo.yaml",
                "--quiet",
                "rules",
                "--",
                "show_status",
            ],
        ],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "envs/cuda.sif (missing: make images)" in done.stdout + done.stderr
