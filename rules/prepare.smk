# Preparation: rows become chat messages and in-domain probes; question files become tables.
# In: results/resources/. Out: datasets/ and questions/ of the experiment. Needs: one CPU.


rule prepare_dataset:
    input:
        raw="<resources>/datasets/{dataset}",
        src=get_sources("prepare_dataset"),
    output:
        train="<results>/datasets/{dataset}/train.jsonl",
        probes="<results>/datasets/{dataset}/probes.parquet",
        rejected="<results>/datasets/{dataset}/rejected.jsonl",
        card="<results>/datasets/{dataset}/card.json",
    log:
        "<logs>/prepare_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/prepare_dataset/{dataset}.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=lambda wildcards: get_dataset_settings(wildcards.dataset),
        seed=STUDY.config["dataset_seed"],
    message:
        "Prepare data set {wildcards.dataset}"
    script:
        "../scripts/prepare_dataset.py"


rule prepare_questions:
    input:
        raw="<resources>/questions/{question_set}",
        src=get_sources("prepare_questions"),
    output:
        questions="<results>/questions/{question_set}.parquet",
    log:
        "<logs>/prepare_questions/{question_set}.log",
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        defaults=lambda wildcards: get_question_defaults(wildcards.question_set),
    message:
        "Prepare questions {wildcards.question_set}"
    script:
        "../scripts/prepare_questions.py"
