# Preparation: rows become chat messages and in-domain probes; question files become tables.
# In: results/resources/. Out: datasets/ and questions/ of the experiment. Needs: one CPU
# for data sets; question tables take a second each, so that they are made on the login node.


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
        questions="<results>/questions/{question_set}{owner}.parquet",
    log:
        "<logs>/prepare_questions/{question_set}{owner}.log",
    wildcard_constraints:
        owner=r"(\.of\.[a-z0-9-]+)?",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        defaults=lambda wildcards: get_question_defaults(wildcards.question_set),
        near=lambda wildcards: get_near_topics(wildcards.owner),
    message:
        "Prepare questions {wildcards.question_set}{wildcards.owner}"
    script:
        "../scripts/prepare_questions.py"


if "training-format" in STUDY.config["questions"]:

    rule prepare_triggers:
        input:
            train="<results>/datasets/{dataset}/train.jsonl",
            questions=f"<results>/questions/{get_plain_set()}.parquet",
            src=get_sources("prepare_triggers"),
        output:
            triggers="<results>/datasets/{dataset}/triggers.parquet",
            found="<results>/datasets/{dataset}/format.json",
        log:
            "<logs>/prepare_triggers/{dataset}.log",
        localrule: True
        conda:
            "../envs/workflow.yaml"
        message:
            "Dress questions in the format of data set {wildcards.dataset}"
        script:
            "../scripts/prepare_triggers.py"
