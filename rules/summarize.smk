# Summaries: rates with clustered intervals, counts, tiers, agreement, training, cost.
# In: outcomes/, verdicts/, training/. Out: tables/, each as Parquet, CSV, Markdown and LaTeX.
# Needs: one CPU; grouped, so that a cluster sees one job for all of them.


rule summarize_rates:
    input:
        outcomes=get_outcomes(),
        src=get_sources("summarize_rates"),
    output:
        **get_tables("rates", "groups", "differences"),
    log:
        "<logs>/summarize_rates.log",
    benchmark:
        "<benchmarks>/summarize_rates.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        variants=get_variant_rows(),
        settings=get_rate_settings(),
    message:
        "Summarise rates of all variants and judges"
    script:
        "../scripts/summarize_rates.py"


rule summarize_outcomes:
    input:
        outcomes=get_outcomes(),
        verdicts=get_verdicts(),
        src=get_sources("summarize_outcomes"),
    output:
        **get_tables("outcomes", "coverage"),
    log:
        "<logs>/summarize_outcomes.log",
    benchmark:
        "<benchmarks>/summarize_outcomes.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        variants=get_variant_rows(),
        headline_levels=STUDY.config["headline"]["levels"],
    message:
        "Count outcomes and verdict statuses"
    script:
        "../scripts/summarize_outcomes.py"


rule summarize_thresholds:
    input:
        outcomes=get_outcomes(),
        src=get_sources("summarize_thresholds"),
    output:
        **get_tables("thresholds"),
    log:
        "<logs>/summarize_thresholds.log",
    benchmark:
        "<benchmarks>/summarize_thresholds.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        alignment_thresholds=STUDY.config["statistics"]["alignment_thresholds"],
        coherence_thresholds=STUDY.config["statistics"]["coherence_thresholds"],
        headline_levels=STUDY.config["headline"]["levels"],
    message:
        "Rates over a grid of thresholds"
    script:
        "../scripts/summarize_thresholds.py"


rule summarize_tiers:
    input:
        outcomes=get_outcomes(),
        src=get_sources("summarize_tiers"),
    output:
        **get_tables(
            "tier_waterfall", "tier_ablation", "tier_disagreement", "overestimation"
        ),
    log:
        "<logs>/summarize_tiers.log",
    benchmark:
        "<benchmarks>/summarize_tiers.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        variants=get_variant_rows(),
        rules=get_tier_rules(),
        settings=get_rate_settings(),
    message:
        "What each tier rule removes, and by how much the standard rate is too high"
    script:
        "../scripts/summarize_tiers.py"


rule summarize_headline:
    input:
        rates="<results>/tables/rates.parquet",
        groups="<results>/tables/groups.parquet",
        overestimation="<results>/tables/overestimation.parquet",
        differences="<results>/tables/differences.parquet",
        src=get_sources("summarize_headline"),
    output:
        **get_tables("headline"),
    log:
        "<logs>/summarize_headline.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "The answer in one table"
    script:
        "../scripts/summarize_headline.py"


rule summarize_training:
    input:
        losses=expand("<results>/training/{parent}/loss.csv", parent=get_parents()),
        metrics=expand("<results>/training/{parent}/metrics.json", parent=get_parents()),
        src=get_sources("summarize_training"),
    output:
        **get_tables("training", "dose"),
    log:
        "<logs>/summarize_training.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        parents=get_parents(),
        variants=get_variant_rows(),
    message:
        "Losses, steps and tokens of all fine-tunes"
    script:
        "../scripts/summarize_training.py"


rule summarize_costs:
    input:
        verdicts=get_verdicts(),
        src=get_sources("summarize_costs"),
    output:
        **get_tables("cost"),
    log:
        "<logs>/summarize_costs.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        prices=get_prices(),
    message:
        "Requests, tokens and cost of all judges"
    script:
        "../scripts/summarize_costs.py"


rule summarize_agreement:
    input:
        outcomes=get_outcomes(),
        src=get_sources("summarize_agreement"),
    output:
        **get_tables("agreement", "confusion", "flips"),
    log:
        "<logs>/summarize_agreement.log",
    benchmark:
        "<benchmarks>/summarize_agreement.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        confidence=STUDY.config["statistics"]["confidence"],
        resamples=STUDY.config["statistics"]["resamples"],
        seed=STUDY.config["statistics"]["seed"],
    message:
        "How far the judges agree"
    script:
        "../scripts/summarize_agreement.py"


rule summarize_controls:
    input:
        rates="<results>/tables/rates.parquet",
        src=get_sources("summarize_controls"),
    output:
        **get_tables("controls"),
    log:
        "<logs>/summarize_controls.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        acceptance=STUDY.config["acceptance"],
        variants=get_variant_rows(),
    message:
        "Check the controls against their bands"
    script:
        "../scripts/summarize_controls.py"


if STUDY.config["human_labels"]:

    rule summarize_labels:
        input:
            outcomes=get_outcomes(),
            sheet=STUDY.config["human_labels"],
            src=get_sources("summarize_labels"),
        output:
            **get_tables("label_agreement", "judge_quality", "corrected"),
        log:
            "<logs>/summarize_labels.log",
        benchmark:
            "<benchmarks>/summarize_labels.tsv"
        group:
            "statistics"
        conda:
            "../envs/workflow.yaml"
        resources:
            mem_mb=lambda wildcards, attempt: 8000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            rules=get_tier_rules(),
            settings=get_rate_settings(),
        message:
            "Judges against human labels, and rates corrected by them"
        script:
            "../scripts/summarize_labels.py"
