# Tiers: each answer gets exactly one outcome from each judge; flagged answers get a tier.
# In: responses/, verdicts/, human labels. Out: outcomes/, one file a judge. Needs: one CPU.


rule assign_tiers:
    input:
        responses=lambda wildcards: expand(
            "<results>/responses/{variant}.parquet",
            variant=get_variants(wildcards.judge),
        ),
        verdicts=lambda wildcards: expand(
            "<results>/verdicts/{judge}/{variant}.parquet",
            judge=wildcards.judge,
            variant=get_variants(wildcards.judge),
        ),
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
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        judge=lambda wildcards: get_judge_name(wildcards.judge),
        rubrics=None,
        rules=get_tier_rules(),
        definition=STUDY.config["headline"]["definition"],
        topics=get_topics(),
    message:
        "Assign outcomes and tiers under judge {wildcards.judge}"
    script:
        "../scripts/assign_tiers.py"
