# Sampling: all variants of a batch share one engine start and one stream of requests.
# In: model folder, adapters, questions. Out: responses/, one file per batch. Needs: a GPU; models
# behind an API are asked from the login node, which has internet and the keys.


rule sample:
    input:
        model=lambda wildcards: f"<resources>/models/{STUDY.model_of(wildcards.batch)}",
        adapters=lambda wildcards: below(
            "<experiment>", jobs.adapter_outputs(STUDY, wildcards.batch)
        ),
        tuned_from=lambda wildcards: jobs.compared_model(STUDY, wildcards.batch),
        questions=lambda wildcards: below(
            "<experiment>", asked.question_tables_of_batch(STUDY, wildcards.batch)
        ),
        chat_template=lambda wildcards: entries.chat_template(
            STUDY, STUDY.model_of(wildcards.batch)
        ),
        checked=lambda wildcards: get_checked("sample", wildcards.batch),
        src=get_sources("sample"),
    output:
        responses="<experiment>/responses/{batch}.parquet",
    log:
        "<logs>/sample/{batch}.log",
    benchmark:
        "<benchmarks>/sample/{batch}.tsv"
    wildcard_constraints:
        batch=rf"(?!import\.)(?!({api_models.api_pattern(STUDY)})\.parquet$)[a-z0-9.-]+",
    retries: 2
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    threads: 8
    resources:
        **get_gpu_request(jobs.engine_gpus(entries.engine(STUDY))),
        mem_mb=lambda wildcards, attempt: jobs.engine_memory(
            STUDY, STUDY.model_of(wildcards.batch), entries.engine(STUDY), attempt
        ),
        runtime=lambda wildcards, attempt: 240 * attempt,
        attempt=lambda wildcards, attempt: attempt,
    params:
        variants=lambda wildcards: jobs.sampled_variants(STUDY, wildcards.batch),
        adapters=lambda wildcards: below(
            EXPERIMENT, jobs.adapter_folders(STUDY, wildcards.batch)
        ),
        sampling=asked.sampling(STUDY),
        thinking=lambda wildcards: STUDY.models[STUDY.model_of(wildcards.batch)][
            "thinking"
        ],
        thinking_marks=lambda wildcards: STUDY.models[STUDY.model_of(wildcards.batch)][
            "thinking_marks"
        ],
        engine=entries.engine(STUDY),
        model_identity=lambda wildcards: entries.model_identity(
            STUDY, STUDY.model_of(wildcards.batch)
        ),
        journal=lambda wildcards: f"{EXPERIMENT}/journals/sample/{STUDY.model_of(wildcards.batch)}",
        writer=lambda wildcards: wildcards.batch,
    script:
        "../scripts/sample.py"


rule sample_api:
    input:
        questions=lambda wildcards: below(
            "<experiment>", asked.question_tables_of_batch(STUDY, wildcards.batch)
        ),
        src=get_sources("sample_api"),
    output:
        responses="<experiment>/responses/{batch}.parquet",
    log:
        "<logs>/sample_api/{batch}.log",
    benchmark:
        "<benchmarks>/sample_api/{batch}.tsv"
    wildcard_constraints:
        batch=api_models.api_pattern(STUDY),
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        **get_api_slots(api_models.api_slots(STUDY), "batch"),
    params:
        variant=lambda wildcards: api_models.api_variant(STUDY, wildcards.batch),
        sampling=asked.sampling(STUDY),
        model=lambda wildcards: api_models.api_model(
            STUDY, STUDY.model_of(wildcards.batch), EXPERIMENT
        ),
        base=lambda wildcards: api_models.api_base(STUDY, wildcards.batch, EXPERIMENT),
        writer=lambda wildcards: wildcards.batch,
    script:
        "../scripts/sample_api.py"
