# Preparation: rows become chat messages and in-domain probes; question files become tables.
# In: results/resources/. Out: datasets/ and questions/ of the experiment. Needs: one CPU
# for data sets; question tables take a second each and are made on the login node.


rule prepare_dataset:
    input:
        raw="<resources>/datasets/{dataset}",
        src=get_sources("prepare_dataset"),
    output:
        train="<experiment>/datasets/{dataset}/train.jsonl",
        in_domain="<experiment>/datasets/{dataset}/in_domain.parquet",
        rejected="<experiment>/datasets/{dataset}/rejected.jsonl",
        card="<experiment>/datasets/{dataset}/card.json",
    log:
        "<logs>/prepare_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/prepare_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=entries.dataset_pattern(STUDY, "source"),
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=lambda wildcards: entries.dataset_settings(STUDY, wildcards.dataset),
        seed=STUDY.config["dataset_seed"],
    script:
        "../scripts/prepare_dataset.py"


rule prepare_mixture:
    input:
        train=lambda wildcards: [
            f"<experiment>/datasets/{part}/train.jsonl"
            for part in STUDY.parts_of(wildcards.dataset)
        ],
        in_domain=lambda wildcards: [
            f"<experiment>/datasets/{part}/in_domain.parquet"
            for part in STUDY.parts_of(wildcards.dataset)
        ],
        cards=lambda wildcards: [
            f"<experiment>/datasets/{part}/card.json"
            for part in STUDY.parts_of(wildcards.dataset)
        ],
        src=get_sources("prepare_mixture"),
    output:
        train="<experiment>/datasets/{dataset}/train.jsonl",
        in_domain="<experiment>/datasets/{dataset}/in_domain.parquet",
        card="<experiment>/datasets/{dataset}/card.json",
    log:
        "<logs>/prepare_mixture/{dataset}.log",
    benchmark:
        "<benchmarks>/prepare_mixture/{dataset}.tsv"
    wildcard_constraints:
        dataset=entries.dataset_pattern(STUDY, "mixture"),
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=lambda wildcards: entries.dataset_settings(STUDY, wildcards.dataset),
        seed=STUDY.config["dataset_seed"],
    script:
        "../scripts/prepare_mixture.py"


rule describe_dataset:
    input:
        src=get_sources("describe_dataset"),
    output:
        card="<experiment>/datasets/{dataset}/card.json",
    log:
        "<logs>/describe_dataset/{dataset}.log",
    wildcard_constraints:
        dataset=entries.dataset_pattern(STUDY, None),
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        settings=lambda wildcards: entries.dataset_settings(STUDY, wildcards.dataset),
    script:
        "../scripts/describe_dataset.py"


rule prepare_questions:
    input:
        raw="<resources>/questions/{question_set}",
        src=get_sources("prepare_questions"),
    output:
        questions="<experiment>/questions/{question_set}{owner}.parquet",
    log:
        "<logs>/prepare_questions/{question_set}{owner}.log",
    wildcard_constraints:
        owner=r"(\.of\.[a-z0-9-]+)?",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        defaults=lambda wildcards: entries.question_defaults(
            STUDY, wildcards.question_set
        ),
        near=lambda wildcards: asked.near_topics(STUDY, wildcards.owner),
    script:
        "../scripts/prepare_questions.py"


rule prepare_system:
    input:
        questions="<experiment>/{table}.parquet",
        src=get_sources("prepare_system"),
    output:
        questions="<experiment>/with_system/{system}/{table}.parquet",
    log:
        "<logs>/prepare_system/{system}/{table}.log",
    wildcard_constraints:
        system="[0-9a-f]{12}",
        table="(questions|datasets)/[a-z0-9._/-]+",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        text=lambda wildcards: asked.system_text(STUDY, wildcards.system),
    script:
        "../scripts/prepare_system.py"


rule prepare_triggers:
    input:
        train="<experiment>/datasets/{dataset}/train.jsonl",
        questions=lambda wildcards: f"<experiment>/questions/{asked.plain_set(STUDY)}.parquet",
        src=get_sources("prepare_triggers"),
    output:
        trigger="<experiment>/datasets/{dataset}/trigger.parquet",
        found="<experiment>/datasets/{dataset}/trigger.json",
    log:
        "<logs>/prepare_triggers/{dataset}.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    script:
        "../scripts/prepare_triggers.py"


rule prepare_judge_cases:
    input:
        written=shown(ROOT / "config" / "judge_cases.yaml"),
        cards=judge_cards.card_files(STUDY),
        train=lambda wildcards: judge_cards.training_files(STUDY, wildcards.kind),
        questions=lambda wildcards: judge_cards.main_questions(STUDY, wildcards.kind),
        base=lambda wildcards: judge_cards.base_answers(STUDY, wildcards.kind),
        src=get_sources("prepare_judge_cases"),
    output:
        cases="<experiment>/judge_cases/{kind}.parquet",
        truth="<experiment>/judge_cases/{kind}.truth.parquet",
    log:
        "<logs>/prepare_judge_cases/{kind}.log",
    wildcard_constraints:
        kind="written|base",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        settings=lambda wildcards: judge_cards.case_settings(STUDY, wildcards.kind),
    script:
        "../scripts/prepare_judge_cases.py"
