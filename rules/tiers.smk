# Tiers: each answer gets exactly one outcome from each judge; flagged answers get a tier.
# In: responses/, verdicts/, human labels. Out: outcomes/, one file per judge. Needs: one CPU.


rule assign_tiers:
    input:
        responses=lambda wildcards: inputs.responses(STUDY, wildcards.judge),
        verdicts=lambda wildcards: inputs.verdicts(STUDY, wildcards.judge),
        labels=STUDY.config["human_labels"] or [],
        src=get_sources("assign_tiers"),
    output:
        outcomes="<results>/outcomes/{judge}.parquet",
    log:
        "<logs>/assign_tiers/{judge}.log",
    benchmark:
        "<benchmarks>/assign_tiers/{judge}.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        judge=lambda wildcards: judges.judge_name(STUDY, wildcards.judge),
        rules=entries.tier_rules(STUDY),
        definition=STUDY.config["headline"]["definition"],
        topics=entries.topics(STUDY),
    script:
        "../scripts/assign_tiers.py"
