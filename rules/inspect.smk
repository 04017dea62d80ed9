# What a person asks of the workflow: what would a run cost, and which answers should I label?
# In: whatever results there are. Out: words, a label sheet. Needs: the login node.


rule plan_requests:
    log:
        "<logs>/plan_requests.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        variants=get_planned_variants(),
        judges=get_planned_judges(),
        max_tokens=STUDY.config["sampling"]["max_tokens"],
        snakefile=str(ROOT / "Snakefile"),
        config=config,
    message:
        "What a run would ask, before anything is spent"
    script:
        "../scripts/plan_requests.py"


rule show_status:
    log:
        "<logs>/show_status.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        variants=get_planned_variants(),
        judges=get_planned_judges(),
        logs=f"{RESULTS}/logs",
    message:
        "How far the experiment is"
    script:
        "../scripts/show_status.py"


rule write_label_sheet:
    input:
        outcomes=f"<results>/outcomes/{get_judges()[0]}.parquet",
        responses=expand(
            "<results>/responses/{variant}.parquet",
            variant=get_variants(get_judges()[0]),
        ),
        src=get_sources("write_label_sheet"),
    output:
        sheet="<results>/labels/sheet.csv",
        guide="<results>/labels/guide.md",
    log:
        "<logs>/write_label_sheet.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        size=STUDY.config["label_sheet"]["size"],
        duplicates=STUDY.config["label_sheet"]["duplicates"],
        levels=STUDY.config["headline"]["levels"],
        seed=STUDY.config["statistics"]["seed"],
    message:
        "A blind sheet of answers to label"
    script:
        "../scripts/write_label_sheet.py"
