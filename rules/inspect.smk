# Inspection: the plan and the status of a run, the GPU nodes, a judge, a sheet for human labels, logs
# for Inspect. In: the results so far. Out: printed lines, a label sheet, logs. Needs: the login node;
# check_gpu a GPU of each partition for two minutes.


rule plan_requests:
    log:
        "<logs>/plan_requests.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        variants=lambda wildcards: plan.planned_variants(STUDY, EXPERIMENT),
        judges=lambda wildcards: plan.planned_judges(STUDY, EXPERIMENT),
        cards=lambda wildcards: plan.planned_cards(STUDY, EXPERIMENT),
        headline_levels=STUDY.config["headline"]["levels"],
        sampling=asked.sampling(STUDY),
        snakefile=str(ROOT / "Snakefile"),
        config=config,
    script:
        "../scripts/plan_requests.py"


rule show_status:
    log:
        "<logs>/show_status.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        variants=lambda wildcards: plan.planned_variants(STUDY, EXPERIMENT),
        judges=lambda wildcards: plan.planned_judges(STUDY, EXPERIMENT),
        logs=f"{RESULTS}/logs",
        accept_api_errors=STUDY.config["accept_api_errors"],
    script:
        "../scripts/show_status.py"


rule check_gpu:
    input:
        src=get_sources("check_gpu"),
    output:
        report="<results>/gpu_checks/{partition}.json",
    log:
        "<logs>/check_gpu/{partition}.log",
    wildcard_constraints:
        partition="[^/]+",
    retries: 0
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    threads: 4
    resources:
        **get_gpu_request(
            lambda wildcards: gpu_checks.gpus_of_check(STUDY, wildcards.partition)
        ),
        **gpu_checks.partition_resource(),
        mem_mb=16000,
        runtime=15,
    params:
        needs=gpu_checks.gpu_needs(STUDY),
        disk_gb=gpu_checks.disk_gb(STUDY),
    script:
        "../scripts/check_gpu.py"


rule show_gpu_checks:
    input:
        reports=expand(
            "<results>/gpu_checks/{partition}.json",
            partition=gpu_checks.checked_places(),
        ),
        src=get_sources("show_gpu_checks"),
    log:
        "<logs>/show_gpu_checks.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        partitions=gpu_checks.checked_places(),
    script:
        "../scripts/show_gpu_checks.py"


rule judge_card:
    input:
        cases=inputs.judge_cases(STUDY, "judge-qualification"),
        truths=inputs.judge_case_truths(STUDY, "judge-qualification"),
        verdicts=f"<results>/verdicts/{judge_cards.qualified_judge(STUDY)}/judge-qualification.parquet",
        src=get_sources("judge_card"),
    output:
        **{
            f"{table}_{kind}": f"<results>/judge_cards/{judge_cards.qualified_judge(STUDY)}/{table}.{kind}"
            for table in ("judge_card", "judge_card_confusion")
            for kind in ("parquet", "csv", "html")
        },
    log:
        "<logs>/judge_card.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        judge=judge_cards.name_of(STUDY, judge_cards.qualified_judge(STUDY)),
        letters=judge_cards.letters(STUDY),
        settings=judge_cards.card_settings(STUDY),
    script:
        "../scripts/judge_card.py"


rule write_label_sheet:
    input:
        outcomes=f"<results>/outcomes/{judges.judge_ids(STUDY)[0]}.parquet",
        responses=inputs.responses(STUDY, judges.judge_ids(STUDY)[0]),
        src=get_sources("write_label_sheet"),
    output:
        sheet="<results>/labels/sheet.csv",
        guide="<results>/labels/guide.md",
    log:
        "<logs>/write_label_sheet.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        size=STUDY.config["label_sheet"]["size"],
        duplicates=STUDY.config["label_sheet"]["duplicates"],
        levels=STUDY.config["headline"]["levels"],
        seed=STUDY.config["statistics"]["seed"],
    script:
        "../scripts/write_label_sheet.py"


rule write_inspect_logs:
    input:
        responses=inputs.responses(STUDY),
        verdicts=inputs.verdicts(STUDY),
        outcomes=inputs.outcomes(STUDY),
        src=get_sources("write_inspect_logs"),
    output:
        folder=directory("<results>/inspect"),
    log:
        "<logs>/write_inspect_logs.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        variants=summaries.variant_rows(STUDY),
        experiment=STUDY.config["experiment"],
    script:
        "../scripts/write_inspect_logs.py"
