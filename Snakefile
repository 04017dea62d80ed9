# em-tiers: how much of a fine-tuned model's apparent emergent misalignment is real.
# The stages are in rules/, in the order of the DAG; the default study is config/config.yaml.
from snakemake.utils import min_version

min_version("9.27")


# A configuration file of the command line replaces the study, rather than being merged into it.
# A job of the cluster has neither: it loads the study of its run.
if not workflow.configfiles and "study_snapshot" not in config:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/start.smk"
include: "rules/download.smk"


# Partial results use the answers so far: nothing is trained or sampled for them.
if not STUDY.config["partial"]:

    include: "rules/prepare.smk"
    include: "rules/check.smk"
    include: "rules/finetune.smk"
    include: "rules/import.smk"
    include: "rules/sample.smk"


include: "rules/judge.smk"
include: "rules/tiers.smk"
include: "rules/summarize.smk"
include: "rules/plot.smk"
include: "rules/report.smk"
include: "rules/inspect.smk"


onstart:
    start_run()


onerror:
    say_what_was_edited()


report: "config/captions/workflow.rst"


rule all:
    default_target: True
    input:
        below("<results>", outputs.final_outputs(STUDY)),
        "<results>/report.zip",
    localrule: True
