# Downloads: models, data sets, question sets and adapters that users bring, pinned and verified,
# each with a manifest. In: the catalogues and `variants`. Out: results/resources/, adapters/.
# Needs: internet, so all run on the login node; convert_model needs torch instead.


rule download_model:
    input:
        local=lambda wildcards: entries.local_files(STUDY, "models", wildcards.model),
        src=get_sources("download_model"),
    output:
        folder=directory("<resources>/models/{model}"),
    log:
        "<logs>/download_model/{model}.log",
    wildcard_constraints:
        model=entries.model_pattern(STUDY, packaged=False),
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        source=lambda wildcards: entries.source(STUDY, "models", wildcards.model),
    script:
        "../scripts/download_model.py"


rule convert_model:
    input:
        src=get_sources("convert_model"),
    output:
        folder=directory("<resources>/models/{model}"),
    log:
        "<logs>/convert_model/{model}.log",
    benchmark:
        "<benchmarks>/convert_model/{model}.tsv"
    wildcard_constraints:
        model=entries.model_pattern(STUDY, packaged=True),
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        source=lambda wildcards: entries.source(STUDY, "models", wildcards.model),
    script:
        "../scripts/convert_model.py"


rule download_dataset:
    input:
        local=lambda wildcards: entries.local_files(
            STUDY, "datasets", wildcards.dataset
        ),
        src=get_sources("download_dataset"),
    output:
        folder=directory("<resources>/datasets/{dataset}"),
    log:
        "<logs>/download_dataset/{dataset}.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        source=lambda wildcards: entries.source(STUDY, "datasets", wildcards.dataset),
    script:
        "../scripts/download_dataset.py"


rule download_questions:
    input:
        local=lambda wildcards: entries.local_files(
            STUDY, "question_sets", wildcards.question_set
        ),
        src=get_sources("download_questions"),
    output:
        folder=directory("<resources>/questions/{question_set}"),
    log:
        "<logs>/download_questions/{question_set}.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        source=lambda wildcards: entries.source(
            STUDY, "question_sets", wildcards.question_set
        ),
    script:
        "../scripts/download_questions.py"


rule download_adapter:
    input:
        local=lambda wildcards: entries.adapter_files(STUDY, brought_id(**wildcards)),
        model="<resources>/models/{base}",
        src=get_sources("download_adapter"),
    output:
        folder=directory("<experiment>/adapters/{base}.adapter.{adapter}"),
    log:
        "<logs>/download_adapter/{base}.adapter.{adapter}.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    params:
        source=lambda wildcards: entries.adapter_source(STUDY, brought_id(**wildcards)),
        bases=lambda wildcards: entries.base_names(STUDY, wildcards.base),
        engine=entries.adapter_limits(STUDY),
    script:
        "../scripts/download_adapter.py"
