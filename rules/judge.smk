# Judging: one job a judge and batch of variants; one verdict file a judge and variant.
# In: responses/, cards of the data sets. Out: verdicts/. Needs: a GPU for local judges; judges
# behind an API run on the login node, which has internet and the keys.


for JUDGE in STUDY.config["judges"]:
    for BATCH in STUDY.batches:
        if STUDY.judges[JUDGE]["backend"] == "vllm":

            rule:
                name:
                    f"judge_{JUDGE}_{BATCH}"
                input:
                    model=f"<resources>/models/{STUDY.judges[JUDGE]['model']}",
                    responses=[
                        f"<results>/responses/{v.variant}.parquet"
                        for v in STUDY.batches[BATCH]
                    ],
                    cards=[
                        f"<results>/datasets/{dataset}/card.json"
                        for dataset in get_datasets_of_batch(BATCH)
                    ],
                    chat_template=get_chat_template(STUDY.judges[JUDGE]["model"]),
                    src=get_sources("judge_vllm"),
                output:
                    verdicts=[
                        f"<results>/verdicts/{JUDGE}/{v.variant}.parquet"
                        for v in STUDY.batches[BATCH]
                    ],
                log:
                    f"<logs>/judge/{JUDGE}/{BATCH}.log",
                benchmark:
                    f"<benchmarks>/judge/{JUDGE}/{BATCH}.tsv"
                retries: 2
                conda:
                    "../envs/cuda.yaml"
                threads: 8
                resources:
                    **get_gpu_request(
                        get_engine(STUDY.judges[JUDGE]["engine"])["tensor_parallel"]
                    ),
                    mem_mb=get_memory_function(STUDY.judges[JUDGE]["model"]),
                    runtime=lambda wildcards, attempt: 240 * attempt,
                params:
                    judge_name=get_judge_name(JUDGE),
                    judge=get_judge_params(JUDGE),
                    model_identity=get_judge_identity(JUDGE),
                    rubrics=get_rubrics(JUDGE),
                    datasets=get_datasets_of_batch(BATCH),
                    engine=get_engine(STUDY.judges[JUDGE]["engine"]),
                    thinking=STUDY.models[STUDY.judges[JUDGE]["model"]]["thinking"],
                    journal=get_judge_journal(JUDGE),
                    writer=f"{JUDGE}.{BATCH}",
                message:
                    f"Judge {JUDGE} scores batch {BATCH}"
                script:
                    "../scripts/judge_vllm.py"

        else:

            rule:
                name:
                    f"judge_{JUDGE}_{BATCH}"
                input:
                    responses=[
                        f"<results>/responses/{v.variant}.parquet"
                        for v in STUDY.batches[BATCH]
                    ],
                    cards=[
                        f"<results>/datasets/{dataset}/card.json"
                        for dataset in get_datasets_of_batch(BATCH)
                    ],
                    src=get_sources("judge_api"),
                output:
                    verdicts=[
                        f"<results>/verdicts/{JUDGE}/{v.variant}.parquet"
                        for v in STUDY.batches[BATCH]
                    ],
                log:
                    f"<logs>/judge/{JUDGE}/{BATCH}.log",
                benchmark:
                    f"<benchmarks>/judge/{JUDGE}/{BATCH}.tsv"
                localrule: True
                conda:
                    "../envs/workflow.yaml"
                resources:
                    **get_api_slot(JUDGE),
                params:
                    judge_name=get_judge_name(JUDGE),
                    judge=get_judge_params(JUDGE),
                    model_identity=get_judge_identity(JUDGE),
                    rubrics=get_rubrics(JUDGE),
                    datasets=get_datasets_of_batch(BATCH),
                    endpoint=STUDY.judges[JUDGE]["endpoint"],
                    limits=STUDY.judges[JUDGE]["limits"],
                    prices=STUDY.judges[JUDGE]["prices"],
                    journal=get_judge_journal(JUDGE),
                    writer=f"{JUDGE}.{BATCH}",
                message:
                    f"Judge {JUDGE} scores batch {BATCH} through its API"
                script:
                    "../scripts/judge_api.py"
