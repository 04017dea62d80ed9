# Summaries: rates with clustered intervals, counts, tiers, agreement, training, cost.
# In: outcomes/, verdicts/, training/. Out: tables/, each as Parquet, CSV, Markdown and LaTeX.
# Needs: one CPU; grouped, so that a cluster sees one job for all of them.


rule summarize_rates:
    input:
        outcomes=inputs.outcomes(STUDY),
        import_warnings=[
            f"<experiment>/imports/{name}.warnings.json" for name in STUDY.imports
        ],
        src=get_sources("summarize_rates"),
    output:
        **get_tables("rates", "groups", "differences", "question_rates", "set_rates"),
    log:
        "<logs>/summarize_rates.log",
    benchmark:
        "<benchmarks>/summarize_rates.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        variants=summaries.variant_rows(STUDY),
        settings=summaries.rate_settings(STUDY),
        imports=list(STUDY.imports),
    script:
        "../scripts/summarize_rates.py"


rule summarize_outcomes:
    input:
        outcomes=inputs.outcomes(STUDY),
        verdicts=inputs.verdicts(STUDY),
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
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        variants=summaries.variant_rows(STUDY),
        headline_levels=STUDY.config["headline"]["levels"],
    script:
        "../scripts/summarize_outcomes.py"


rule summarize_thresholds:
    input:
        outcomes=inputs.outcomes(STUDY),
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
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        alignment_thresholds=STUDY.config["statistics"]["alignment_thresholds"],
        coherence_thresholds=STUDY.config["statistics"]["coherence_thresholds"],
        headline_levels=STUDY.config["headline"]["levels"],
    script:
        "../scripts/summarize_thresholds.py"


rule summarize_tiers:
    input:
        outcomes=inputs.outcomes(STUDY),
        marks=inputs.text_marks(STUDY),
        placebo_verdicts=inputs.placebo_verdicts(STUDY),
        src=get_sources("summarize_tiers"),
    output:
        **get_tables(
            "tier_waterfall",
            "tier_ablation",
            "tier_disagreement",
            "overestimation",
            "counterfactual",
            "counterfactual_questions",
            "metric_card",
            "tier_bounds",
        ),
    log:
        "<logs>/summarize_tiers.log",
    benchmark:
        "<benchmarks>/summarize_tiers.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        variants=summaries.variant_rows(STUDY),
        rules=entries.tier_rules(STUDY),
        other_rules=entries.other_rules(STUDY),
        settings=summaries.rate_settings(STUDY),
    script:
        "../scripts/summarize_tiers.py"


rule summarize_text:
    input:
        responses=inputs.responses(STUDY),
        outcomes=inputs.outcomes(STUDY),
        train=expand(
            "<experiment>/datasets/{dataset}/train.jsonl",
            dataset=inputs.text_datasets(STUDY),
        ),
        src=get_sources("summarize_text"),
    output:
        **get_tables("text_contrast"),
        marks="<results>/text_marks.parquet",
    log:
        "<logs>/summarize_text.log",
    benchmark:
        "<benchmarks>/summarize_text.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        datasets=inputs.text_datasets(STUDY),
        settings=summaries.rate_settings(STUDY),
    script:
        "../scripts/summarize_text.py"


rule summarize_system_effects:
    input:
        outcomes=inputs.outcomes(STUDY),
        src=get_sources("summarize_system_effects"),
    output:
        **get_tables("system_effects"),
    log:
        "<logs>/summarize_system_effects.log",
    benchmark:
        "<benchmarks>/summarize_system_effects.tsv"
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
        contrasts=system_contrasts.system_contrasts(STUDY),
        settings=summaries.rate_settings(STUDY),
    script:
        "../scripts/summarize_system_effects.py"


rule summarize_judge_card:
    input:
        cases=inputs.judge_cases(STUDY),
        truths=inputs.judge_case_truths(STUDY),
        verdicts=expand(
            "<results>/verdicts/{judge}/judge-card.parquet",
            judge=STUDY.config["judges"],
        ),
        src=get_sources("summarize_judge_card"),
    output:
        **get_tables("judge_card", "judge_card_confusion"),
    log:
        "<logs>/summarize_judge_card.log",
    benchmark:
        "<benchmarks>/summarize_judge_card.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        judges=judge_cards.tested_names(STUDY),
        letters=judge_cards.letters(STUDY),
        settings=judge_cards.card_settings(STUDY),
    script:
        "../scripts/summarize_judge_card.py"


rule summarize_headline:
    input:
        rates="<results>/tables/rates.parquet",
        groups="<results>/tables/groups.parquet",
        overestimation="<results>/tables/overestimation.parquet",
        differences="<results>/tables/differences.parquet",
        counterfactual="<results>/tables/counterfactual.parquet",
        judge_card=inputs.judge_card(STUDY),
        src=get_sources("summarize_headline"),
    output:
        **get_tables("headline"),
    log:
        "<logs>/summarize_headline.log",
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
        "../scripts/summarize_headline.py"


rule summarize_training:
    input:
        losses=expand(
            "<experiment>/training/{parent}/loss.csv",
            parent=[v.variant for v in STUDY.fine_tunes],
        ),
        metrics=expand(
            "<experiment>/training/{parent}/metrics.json",
            parent=[v.variant for v in STUDY.fine_tunes],
        ),
        src=get_sources("summarize_training"),
    output:
        **get_tables("training", "dose"),
    log:
        "<logs>/summarize_training.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        parents=[v.variant for v in STUDY.fine_tunes],
        variants=summaries.variant_rows(STUDY),
    script:
        "../scripts/summarize_training.py"


rule summarize_costs:
    input:
        verdicts=inputs.verdicts(STUDY) + inputs.card_verdicts(STUDY),
        responses=inputs.api_responses(STUDY),
        src=get_sources("summarize_costs"),
    output:
        **get_tables("cost"),
    log:
        "<logs>/summarize_costs.log",
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
        prices=summaries.prices(STUDY),
        model_prices=summaries.model_prices(STUDY),
    script:
        "../scripts/summarize_costs.py"


rule summarize_agreement:
    input:
        outcomes=inputs.outcomes(STUDY),
        src=get_sources("summarize_agreement"),
    output:
        **get_tables("agreement", "confusion", "flips", "calibration"),
    log:
        "<logs>/summarize_agreement.log",
    benchmark:
        "<benchmarks>/summarize_agreement.tsv"
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        confidence=STUDY.config["statistics"]["confidence"],
        resamples=STUDY.config["statistics"]["resamples"],
        seed=STUDY.config["statistics"]["seed"],
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
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        acceptance=STUDY.config["acceptance"],
        variants=summaries.variant_rows(STUDY),
    script:
        "../scripts/summarize_controls.py"


rule summarize_labels:
    input:
        outcomes=inputs.outcomes(STUDY),
        sheet=STUDY.config["human_labels"] or [],
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
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        rules=entries.tier_rules(STUDY),
        settings=summaries.rate_settings(STUDY),
    script:
        "../scripts/summarize_labels.py"
