# em-tiers: how much of the emergent misalignment that a fine-tuned model appears to show is real.
# The stages stand in rules/ in the order of the DAG; config/config.yaml is the experiment.
from snakemake.utils import min_version

min_version("9.27")


# A configuration file of the command line replaces the study, rather than being merged into it.
if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/common_judges.smk"
include: "rules/common_results.smk"


pathvars:
    results=f"results/{STUDY.config['experiment']}",
    resources="results/resources",
    logs=f"results/{STUDY.config['experiment']}/logs",
    benchmarks=f"results/{STUDY.config['experiment']}/benchmarks",


include: "rules/download.smk"
include: "rules/prepare.smk"
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
    check_before_run()


report: "config/captions/workflow.rst"


rule all:
    default_target: True
    input:
        get_final_output(),
    localrule: True
