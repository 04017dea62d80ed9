# Judging: one job per judge and judging batch, which may hold answers of several base models.
# In: responses/, cards of the data sets. Out: verdicts/, one file per judge and batch. Needs: a GPU
# for local judges; judges behind an API run on the login node, which has internet and the keys. The
# batches judge-card and judge-qualification hold cases that test the judge (prepare_judge_cases).


rule judge_vllm:
    input:
        model=lambda wildcards: f"<resources>/models/{STUDY.judges[wildcards.judge]['model']}",
        responses=lambda wildcards: inputs.judged_responses(STUDY, wildcards.batch),
        cards=lambda wildcards: inputs.judged_cards(STUDY, wildcards.batch),
        chat_template=lambda wildcards: entries.chat_template(
            STUDY, STUDY.judges[wildcards.judge]["model"]
        ),
        checked=lambda wildcards: get_checked("judge", wildcards.judge),
        published=lambda wildcards: judges.published_prompts(STUDY, wildcards.judge),
        src=get_sources("judge_vllm"),
    output:
        verdicts="<results>/verdicts/{judge}/{batch}.parquet",
    log:
        "<logs>/judge_vllm/{judge}/{batch}.log",
    benchmark:
        "<benchmarks>/judge_vllm/{judge}/{batch}.tsv"
    wildcard_constraints:
        judge=judges.judge_pattern(STUDY, "vllm"),
    retries: 2
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    threads: 8
    resources:
        **get_gpu_request(
            lambda wildcards: jobs.engine_gpus(
                judges.judge_engine(STUDY, wildcards.judge)
            )
        ),
        mem_mb=lambda wildcards, attempt: jobs.engine_memory(
            STUDY,
            STUDY.judges[wildcards.judge]["model"],
            judges.judge_engine(STUDY, wildcards.judge),
            attempt,
        ),
        runtime=lambda wildcards, attempt: 240 * attempt,
        attempt=lambda wildcards, attempt: attempt,
    params:
        judge_name=lambda wildcards: judges.judge_name(STUDY, wildcards.judge),
        judge=lambda wildcards: judges.judge_params(STUDY, **wildcards),
        model_identity=lambda wildcards: judges.judge_identity(STUDY, wildcards.judge),
        rubrics=lambda wildcards: judges.judge_rubrics(STUDY, **wildcards),
        datasets=lambda wildcards: inputs.judged_datasets(STUDY, wildcards.batch),
        engine=lambda wildcards: judges.judge_engine(STUDY, wildcards.judge),
        thinking=lambda wildcards: STUDY.models[
            STUDY.judges[wildcards.judge]["model"]
        ]["thinking"],
        thinking_marks=lambda wildcards: STUDY.models[
            STUDY.judges[wildcards.judge]["model"]
        ]["thinking_marks"],
        journal=lambda wildcards: judges.judge_journal(
            STUDY, wildcards.judge, EXPERIMENT
        ),
        writer=lambda wildcards: f"{wildcards.judge}.{wildcards.batch}",
    script:
        "../scripts/judge_vllm.py"


rule judge_api:
    input:
        responses=lambda wildcards: inputs.judged_responses(STUDY, wildcards.batch),
        cards=lambda wildcards: inputs.judged_cards(STUDY, wildcards.batch),
        published=lambda wildcards: judges.published_prompts(STUDY, wildcards.judge),
        src=get_sources("judge_api"),
    output:
        verdicts="<results>/verdicts/{judge}/{batch}.parquet",
    log:
        "<logs>/judge_api/{judge}/{batch}.log",
    benchmark:
        "<benchmarks>/judge_api/{judge}/{batch}.tsv"
    wildcard_constraints:
        judge=judges.judge_pattern(STUDY, "api"),
    localrule: True
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        **get_api_slots(judges.api_slots(STUDY), "judge"),
    params:
        judge_name=lambda wildcards: judges.judge_name(STUDY, wildcards.judge),
        judge=lambda wildcards: judges.judge_params(STUDY, **wildcards),
        model_identity=lambda wildcards: judges.judge_identity(STUDY, wildcards.judge),
        rubrics=lambda wildcards: judges.judge_rubrics(STUDY, **wildcards),
        datasets=lambda wildcards: inputs.judged_datasets(STUDY, wildcards.batch),
        endpoint=lambda wildcards: STUDY.judges[wildcards.judge]["endpoint"],
        limits=lambda wildcards: STUDY.judges[wildcards.judge]["limits"],
        prices=lambda wildcards: judges.price_list(STUDY, wildcards.judge),
        mode=lambda wildcards: STUDY.judges[wildcards.judge]["mode"],
        journal=lambda wildcards: judges.judge_journal(
            STUDY, wildcards.judge, EXPERIMENT
        ),
        writer=lambda wildcards: f"{wildcards.judge}.{wildcards.batch}",
        round=lambda wildcards: judges.due_round(
            STUDY, f"{RESULTS}/verdicts/{wildcards.judge}/{wildcards.batch}.parquet"
        ),
    script:
        "../scripts/judge_api.py"
