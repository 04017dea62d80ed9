# Sampling: all variants of a batch share one engine start and one stream of requests.
# In: model folder, adapters, questions. Out: responses/, one file a variant. Needs: a GPU.


for BATCH in get_sample_batches():

    rule:
        name:
            f"sample_{BATCH}"
        input:
            model=f"<resources>/models/{STUDY.batches[BATCH][0].base}",
            adapters=get_adapters_of_batch(BATCH),
            questions=get_questions_of_batch(BATCH),
            chat_template=get_chat_template(STUDY.batches[BATCH][0].base),
            src=get_sources("sample"),
        output:
            responses=[
                f"<results>/responses/{v.variant}.parquet"
                for v in STUDY.batches[BATCH]
            ],
        log:
            f"<logs>/sample/{BATCH}.log",
        benchmark:
            f"<benchmarks>/sample/{BATCH}.tsv"
        retries: 2
        conda:
            "../envs/cuda.yaml"
        threads: 8
        resources:
            **get_gpu_request(get_engine()["tensor_parallel"]),
            mem_mb=get_memory_function(STUDY.batches[BATCH][0].base),
            runtime=lambda wildcards, attempt: 240 * attempt,
        params:
            variants=get_sample_variants(BATCH),
            adapters=[get_adapter_folder(v) for v in STUDY.batches[BATCH] if v.parent],
            sampling=get_sampling(),
            thinking=STUDY.models[STUDY.batches[BATCH][0].base]["thinking"],
            engine=get_engine(),
            model_identity=get_model_identity(STUDY.batches[BATCH][0].base),
            journal=f"{RESULTS}/journals/sample/{STUDY.batches[BATCH][0].base}",
            writer=BATCH,
        message:
            f"Sample the variants of batch {BATCH}"
        script:
            "../scripts/sample.py"
