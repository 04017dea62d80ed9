# Fine-tuning: one adapter a base, data set, recipe and seed.
# In: model folder, train.jsonl. Out: adapters/, training/. Needs: the recipe's GPUs on one node.


rule finetune:
    """Train one adapter; after a kill it goes on from the last whole checkpoint."""
    input:
        model="<resources>/models/{base}",
        train="<results>/datasets/{dataset}/train.jsonl",
        src=get_sources("finetune"),
    output:
        adapter=directory("<results>/adapters/{base}.{dataset}.{recipe}.s{seed}"),
        metrics="<results>/training/{base}.{dataset}.{recipe}.s{seed}/metrics.json",
        loss="<results>/training/{base}.{dataset}.{recipe}.s{seed}/loss.csv",
    log:
        "<logs>/finetune/{base}.{dataset}.{recipe}.s{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{base}.{dataset}.{recipe}.s{seed}.tsv"
    retries: 2
    threads: 8
    resources:
        gpu=lambda wildcards: STUDY.recipes[wildcards.recipe]["gpus"],
        mem_mb=lambda wildcards, attempt: get_memory_of_model(wildcards.base, attempt),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        recipe=lambda wildcards: without_cosmetics(STUDY.recipes[wildcards.recipe]),
        thinking=lambda wildcards: STUDY.models[wildcards.base]["thinking"],
        keep_steps=get_kept_steps,
        checkpoints="<results>/checkpoints/{base}.{dataset}.{recipe}.s{seed}",
    message:
        "Fine-tune {wildcards.base} on {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/finetune.py"
