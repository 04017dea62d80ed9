# Report: sample browser, first page, methods, Snakemake's report, archive.
# In: tables/, figures/, outcomes/. Out: browser/, overview.html, method.html, report.zip, archive.
# Needs: one CPU.


rule build_browser:
    input:
        responses=inputs.responses(STUDY),
        verdicts=inputs.verdicts(STUDY),
        outcomes=inputs.outcomes(STUDY),
        src=get_sources("build_browser"),
        page=[
            shown(p)
            for p in sorted((ROOT / "scripts" / "browser").iterdir())
            if p.is_file()
        ],
    output:
        folder=directory("<results>/browser"),
    log:
        "<logs>/build_browser.log",
    benchmark:
        "<benchmarks>/build_browser.tsv"
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
        title=summaries.title(STUDY),
    script:
        "../scripts/build_browser.py"


rule build_overview:
    input:
        answers="<results>/tables/headline.parquet",
        coverage="<results>/tables/coverage.parquet",
        judge_card=inputs.judge_card(STUDY),
        metric_card="<results>/tables/metric_card.parquet",
        figure="<results>/figures/rates.svg",
        src=get_sources("build_overview"),
    output:
        page=report(
            "<results>/overview.html",
            caption=outputs.caption_file(ROOT, "overview"),
            category=outputs.category("Answer"),
            labels={"name": "answer (first page)", "kind": "html"},
        ),
    log:
        "<logs>/build_overview.log",
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
        title=summaries.title(STUDY),
        headline=STUDY.config["headline"],
        confidence=STUDY.config["statistics"]["confidence"],
        notice=summaries.notice(STUDY),
    script:
        "../scripts/build_overview.py"


rule build_method:
    input:
        responses=inputs.responses(STUDY),
        rejected=[
            f"<experiment>/imports/{name}.rejected.jsonl" for name in STUDY.imports
        ],
        warnings=[
            f"<experiment>/imports/{name}.warnings.json" for name in STUDY.imports
        ],
        verdicts=inputs.verdicts(STUDY),
        rates="<results>/tables/rates.parquet",
        outcomes="<results>/tables/outcomes.parquet",
        coverage="<results>/tables/coverage.parquet",
        cards=expand(
            "<experiment>/datasets/{dataset}/card.json",
            dataset=jobs.carded_datasets(STUDY),
        ),
        folders=expand("<resources>/models/{model}", model=STUDY.local_models),
        src=get_sources("build_method"),
    output:
        html=report(
            "<results>/method.html",
            caption=outputs.caption_file(ROOT, "method"),
            category=outputs.category("Method"),
            labels={"name": "method", "kind": "html"},
        ),
        markdown="<results>/method.md",
    log:
        "<logs>/build_method.log",
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
        datasets=jobs.carded_datasets(STUDY),
        models=STUDY.local_models,
        study=summaries.method_study(STUDY),
    script:
        "../scripts/build_method.py"


rule build_model_cards:
    input:
        rates="<results>/tables/rates.parquet",
        models=expand("<resources>/models/{model}", model=inputs.trained_models(STUDY)),
        cards=expand(
            "<experiment>/datasets/{dataset}/card.json",
            dataset=inputs.trained_datasets(STUDY),
        ),
        trainings=expand(
            "<experiment>/training/{parent}/metrics.json",
            parent=[v.variant for v in STUDY.fine_tunes],
        ),
        src=get_sources("build_model_cards"),
    output:
        folder=directory("<results>/model_cards"),
    log:
        "<logs>/build_model_cards.log",
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
        study=summaries.method_study(STUDY),
        fine_tunes=summaries.carded_fine_tunes(STUDY, EXPERIMENT),
        models=inputs.trained_models(STUDY),
        datasets=inputs.trained_datasets(STUDY),
        trainings=[v.variant for v in STUDY.fine_tunes],
    script:
        "../scripts/build_model_cards.py"


rule build_report:
    input:
        results=below("<results>", outputs.final_outputs(STUDY)),
        captions=[
            shown(path)
            for path in sorted((ROOT / "config" / "captions").glob("*.rst"))
        ],
        src=get_sources("build_report"),
    output:
        report="<results>/report.zip",
    log:
        "<logs>/build_report.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    script:
        "../scripts/build_report.py"


rule archive:
    input:
        below("<results>", outputs.final_outputs(STUDY)),
        "<results>/report.zip",
        src=get_sources("archive"),
    output:
        archive=f"results/{STUDY.config['experiment']}.archive.zip",
    log:
        "<logs>/archive.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        config=STUDY.config,
        catalogues=summaries.catalogues(STUDY),
        configfiles=[
            *(os.path.relpath(file) for file in workflow.configfiles),
            *(["pins.yaml"] if os.path.isfile("pins.yaml") else []),
        ],
        adapters=False,
        training_text=False,
    script:
        "../scripts/archive.py"
