# The study, and helpers that need Snakemake's own objects. The values of inputs and params are
# computed in scripts/em_tiers/study/. No rule is defined here.
import gc
import os
import sys
from pathlib import Path

# Imported modules stay to the end, where Python would search them for garbage again and again.
gc.freeze()

# Not workflow.basedir, which is another folder where this workflow is used as a module.
ROOT = Path(str(workflow.current_basedir)).parent
sys.path.insert(0, str(ROOT / "scripts"))

from em_tiers.errors import ConfigError
from em_tiers.study import api_models, asked, checked_prompts, entries
from em_tiers.study import gpu_checks, inputs, jobs, judge_cards, judges, outputs, plan
from em_tiers.study import sequences, snapshot, summaries, system_contrasts
from em_tiers.study.gpu_request import get_gpu_request
from em_tiers.study.load import load_study
from em_tiers.study.script_imports import SCRIPTS, imported_modules
from em_tiers.study.variants import brought_id, fine_tune_id
from snakemake.exceptions import WorkflowError

# Whether this workflow runs by itself: another one that uses it as a module has its own hooks and
# configuration.
IS_ALONE = Path(workflow.basedir).samefile(ROOT)


def get_study():
    """The checked study; a mistake becomes one message without a traceback."""
    files = [str(file) for file in workflow.configfiles]
    try:
        if IS_ALONE and not workflow.is_main_process:
            return snapshot.load_for_job(config, ROOT, Path.cwd())
        # The report of a run, which a Snakemake of its own builds.
        if snapshot.KEY in config:
            return snapshot.load_snapshot(config[snapshot.KEY], ROOT, Path.cwd())
        return load_study(config, ROOT, Path.cwd(), files)
    except ConfigError as error:
        raise WorkflowError(str(error))


STUDY = get_study()


# <experiment> holds journals, answers and everything before them; <results> holds verdicts and
# everything after. They differ only for partial results, which have their own folder.
pathvars:
    experiment=STUDY.folder,
    results=STUDY.results_folder,
    resources="results/resources",
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


# Paths inside params, which Snakemake leaves as they are.
EXPERIMENT = workflow.pathvars.apply("<experiment>")
RESULTS = workflow.pathvars.apply("<results>")


wildcard_constraints:
    **dict.fromkeys(outputs.IDS, "[a-z0-9-]+"),
    **dict.fromkeys(("batch", "judge"), "[a-z0-9.-]+"),
    seed="[0-9]+",


def shown(path):
    """A path of the workflow's own files, relative if the workflow runs in its own folder."""
    return os.path.relpath(path) if Path.cwd() == ROOT else str(path)


# Of `--sdm apptainer`, built by `make images`; ignored otherwise.
IMAGES = {name: shown(ROOT / "envs" / f"{name}.sif") for name in ("cuda", "workflow")}


def get_sources(script):
    """Modules that a script imports: Snakemake itself sees a change of the script only."""
    return [shown(path) for path in sorted(imported_modules(SCRIPTS / f"{script}.py"))]


def below(folder, paths):
    """Paths below a folder such as <experiment>."""
    return [f"{folder}/{path}" for path in paths]


def get_checked(stage, name):
    """The check of a job's own prompts."""
    return below("<experiment>", checked_prompts.own_check(STUDY, stage, name))


def get_checked_base(base):
    """The check of sampling a base model: it stops trainings early, but runs none again.

    Snakemake 9 leaves out a job behind an ancient() file that is made again, even if the job's own
    params have changed. That is why get_checked is not ancient, and has the params of its job.
    """
    return ancient(below("<experiment>", [checked_prompts.check_of_base(base)]))


def get_api_slots(slots, wildcard):
    """A resource for each model behind an API, so that one job at a time asks it.

    Its concurrency is that of one job, and its ceilings count what earlier jobs spent. `slots`: the
    values of `wildcard` whose jobs share each resource.
    """
    for slot in slots:
        # A resource that nothing limits would hold back no job.
        workflow.register_resource(slot, 1)
    return {
        slot: lambda wildcards, names=names: int(getattr(wildcards, wildcard) in names)
        for slot, names in slots.items()
    }


def in_report(path, name, caption, category):
    """A path that the report shows."""
    return report(
        path,
        caption=outputs.caption_file(ROOT, caption),
        category=outputs.category(category),
        labels={"name": name.replace("_", " "), "kind": Path(path).suffix[1:]},
    )


def get_tables(*names):
    """Output files of tables, as {TABLE_FORMAT: path}; the report shows the page and the CSV."""
    files = {}
    for name in names:
        for kind in ("parquet", "csv", "md", "tex", "html"):
            path = f"<results>/tables/{name}.{kind}"
            if kind in ("csv", "html") and name in outputs.TABLES:
                path = in_report(path, name, f"{name}_table", outputs.TABLES[name])
            files[f"{name}_{kind}" if len(names) > 1 else kind] = path
    return files


def get_figure(name):
    """Output files of a figure; the report shows the SVG."""
    files = {
        kind: f"<results>/figures/{name}.{kind}"
        for kind in ("pdf", "svg", "png", "csv")
    }
    return files | {"svg": in_report(files["svg"], name, name, outputs.FIGURES[name])}
