# Figures: each as PDF, SVG and PNG with its data beside it.
# In: tables/, outcomes/. Out: figures/. Needs: one CPU; grouped with the statistics.


rule plot_scores:
    input:
        table=inputs.outcomes(STUDY),
        src=get_sources("plot_scores"),
    output:
        **get_figure("scores"),
    log:
        "<logs>/plot_scores.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        definition=STUDY.config["headline"]["definition"],
        labels=summaries.labels(STUDY),
        roles=summaries.roles(STUDY),
    script:
        "../scripts/plot_scores.py"


rule plot_dose:
    input:
        table="<results>/tables/rates.parquet",
        training="<results>/tables/training.parquet",
        src=get_sources("plot_dose"),
    output:
        **get_figure("dose"),
    log:
        "<logs>/plot_dose.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../scripts/plot_dose.py"


# In one process: most of the time of a figure is the start of its process.
rule plot_rate_figures:
    input:
        table="<results>/tables/rates.parquet",
        src=get_sources("plot_rate_figures"),
    output:
        **{
            f"{name}_{kind}": path
            for name in ("rates", "probes", "controls", "metric_card")
            for kind, path in get_figure(name).items()
        },
    log:
        "<logs>/plot_rate_figures.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        headline_levels=STUDY.config["headline"]["levels"],
    script:
        "../scripts/plot_rate_figures.py"


rule plot_outcomes:
    input:
        table="<results>/tables/outcomes.parquet",
        src=get_sources("plot_outcomes"),
    output:
        **get_figure("outcomes"),
    log:
        "<logs>/plot_outcomes.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        headline_levels=STUDY.config["headline"]["levels"],
    script:
        "../scripts/plot_outcomes.py"


rule plot_thresholds:
    input:
        table="<results>/tables/thresholds.parquet",
        src=get_sources("plot_thresholds"),
    output:
        **get_figure("thresholds"),
    log:
        "<logs>/plot_thresholds.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        definition=STUDY.config["headline"]["definition"],
        labels=summaries.labels(STUDY),
        roles=summaries.roles(STUDY),
    script:
        "../scripts/plot_thresholds.py"


rule plot_tiers:
    input:
        table="<results>/tables/tier_waterfall.parquet",
        src=get_sources("plot_tiers"),
    output:
        **get_figure("tiers"),
    log:
        "<logs>/plot_tiers.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        roles=summaries.roles(STUDY),
        tiers={rule["name"]: rule["tier"] for rule in entries.tier_rules(STUDY)},
    script:
        "../scripts/plot_tiers.py"


rule plot_losses:
    input:
        table="<results>/tables/training.parquet",
        src=get_sources("plot_losses"),
    output:
        **get_figure("losses"),
    log:
        "<logs>/plot_losses.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../scripts/plot_losses.py"


rule plot_agreement:
    input:
        table="<results>/tables/agreement.parquet",
        src=get_sources("plot_agreement"),
    output:
        **get_figure("agreement"),
    log:
        "<logs>/plot_agreement.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../scripts/plot_agreement.py"
