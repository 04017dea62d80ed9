# Fine-tuning: one adapter a base, data set, recipe and seed.
# In: model folder, train.jsonl. Out: adapters/, training/. Needs: the recipe's GPUs on one node.


rule finetune:
    input:
        model="<resources>/models/{base}",
        train="<results>/datasets/{dataset}/train.jsonl",
        chat_template=lambda wildcards: get_chat_template(wildcards.base),
        src=get_sources("finetune"),
    output:
        adapter=directory("<results>/adapters/{base}.{dataset}.{recipe}.s{seed}"),
        kept=directory("<results>/kept_adapters/{base}.{dataset}.{recipe}.s{seed}"),
        metrics="<results>/training/{base}.{dataset}.{recipe}.s{seed}/metrics.json",
        loss="<results>/training/{base}.{dataset}.{recipe}.s{seed}/loss.csv",
    log:
        "<logs>/finetune/{base}.{dataset}.{recipe}.s{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{base}.{dataset}.{recipe}.s{seed}.tsv"
    retries: 2
    conda:
        "../envs/cuda.yaml"
    threads: lambda wildcards: STUDY.recipes[wildcards.recipe]["threads"]
    resources:
        **get_gpu_request(lambda wildcards: STUDY.recipes[wildcards.recipe]["gpus"]),
        mem_mb=get_memory_of_training,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        recipe=get_recipe,
        seed=lambda wildcards: int(wildcards.seed),
        thinking=lambda wildcards: STUDY.models[wildcards.base]["thinking"],
        checkpoints=lambda wildcards: f"{RESULTS}/checkpoints/{get_parent(wildcards)}",
    message:
        "Fine-tune {wildcards.base} on {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/finetune.py"
