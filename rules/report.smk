# What people look at and keep: sample browser, report, archive. In: tables/, figures/, outcomes/.
# Out: browser/, report.zip (Snakemake's own report), an archive. Needs: one CPU.


rule build_browser:
    input:
        responses=expand(
            "<results>/responses/{variant}.parquet", variant=get_variants()
        ),
        verdicts=get_verdicts(),
        outcomes=get_outcomes(),
        src=get_sources("build_browser"),
        page=get_browser_files(),
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
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        variants=get_variant_rows(),
        title=STUDY.config["title"] or STUDY.config["experiment"],
    message:
        "Sample browser: every answer with its verdicts"
    script:
        "../scripts/build_browser.py"


rule build_overview:
    input:
        answers="<results>/tables/headline.parquet",
        coverage="<results>/tables/coverage.parquet",
        figure="<results>/figures/rates.svg",
        src=get_sources("build_overview"),
    output:
        page=report(
            "<results>/overview.html",
            caption=get_caption("overview"),
            category=get_category("Answer"),
            labels={"name": "answer (first page)", "kind": "html"},
        ),
    log:
        "<logs>/build_overview.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        title=STUDY.config["title"] or STUDY.config["experiment"],
        headline=STUDY.config["headline"],
        confidence=STUDY.config["statistics"]["confidence"],
        notice=STUDY.config["notice"],
    message:
        "First page: the answer in one table"
    script:
        "../scripts/build_overview.py"


rule build_method:
    input:
        responses=expand(
            "<results>/responses/{variant}.parquet", variant=get_variants()
        ),
        rejected=[
            f"<results>/imports/{entry['id']}.rejected.jsonl"
            for entry in STUDY.config["imports"]
        ],
        verdicts=get_verdicts(),
        rates="<results>/tables/rates.parquet",
        outcomes="<results>/tables/outcomes.parquet",
        coverage="<results>/tables/coverage.parquet",
        cards=expand(
            "<results>/datasets/{dataset}/card.json", dataset=get_carded_datasets()
        ),
        folders=expand("<resources>/models/{model}", model=get_bases()),
        src=get_sources("build_method"),
    output:
        html=report(
            "<results>/method.html",
            caption=get_caption("method"),
            category=get_category("Method"),
            labels={"name": "method", "kind": "html"},
        ),
        markdown="<results>/method.md",
    log:
        "<logs>/build_method.log",
    group:
        "statistics"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        datasets=get_carded_datasets(),
        models=get_bases(),
        study=get_method_study(),
    message:
        "Method page: in words, what was done"
    script:
        "../scripts/build_method.py"


rule build_report:
    input:
        results=get_results(),
        captions=get_captions(),
        src=get_sources("build_report"),
    output:
        report="<results>/report.zip",
    log:
        "<logs>/build_report.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    message:
        "Report: unpack it and open report.html"
    script:
        "../scripts/build_report.py"


rule archive:
    input:
        get_final_output(),
        src=get_sources("archive"),
    output:
        archive=f"results/{STUDY.config['experiment']}.archive.zip",
    log:
        "<logs>/archive.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        config=STUDY.config,
        catalogues=get_catalogues(),
        configfiles=[os.path.relpath(file) for file in workflow.configfiles],
        adapters=False,
        training_text=False,
    message:
        "Archive the experiment's results as an RO-Crate"
    script:
        "../scripts/archive.py"
