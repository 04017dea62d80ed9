# Fine-tuning: one adapter per base model, data set, recipe and seed.
# In: model folder, train.jsonl. Out: adapters/, training/. Needs: the recipe's GPUs on one node.


rule finetune:
    input:
        model="<resources>/models/{base}",
        train="<experiment>/datasets/{dataset}/train.jsonl",
        chat_template=lambda wildcards: entries.chat_template(STUDY, wildcards.base),
        start=lambda wildcards: below(
            "<experiment>", sequences.start_outputs(STUDY, fine_tune_id(**wildcards))
        ),
        checked=lambda wildcards: get_checked(
            "finetune", "{base}.{dataset}.{recipe}".format(**wildcards)
        ),
        checked_base=lambda wildcards: get_checked_base(wildcards.base),
        src=get_sources("finetune"),
    output:
        adapter=directory("<experiment>/adapters/{base}.{dataset}.{recipe}.s{seed}"),
        kept=directory("<experiment>/kept_adapters/{base}.{dataset}.{recipe}.s{seed}"),
        metrics="<experiment>/training/{base}.{dataset}.{recipe}.s{seed}/metrics.json",
        loss="<experiment>/training/{base}.{dataset}.{recipe}.s{seed}/loss.csv",
    log:
        "<logs>/finetune/{base}.{dataset}.{recipe}.s{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{base}.{dataset}.{recipe}.s{seed}.tsv"
    retries: 2
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    threads: lambda wildcards: STUDY.recipes[wildcards.recipe]["threads"]
    resources:
        **get_gpu_request(lambda wildcards: STUDY.recipes[wildcards.recipe]["gpus"]),
        mem_mb=lambda wildcards, attempt: jobs.training_memory(
            STUDY, wildcards.base, wildcards.recipe, attempt
        ),
        runtime=lambda wildcards, attempt: 240 * attempt,
        attempt=lambda wildcards, attempt: attempt,
        # Not among the params: a training that is followed is the same training.
        report_to=lambda wildcards: STUDY.recipes[wildcards.recipe]["report_to"],
    params:
        recipe=lambda wildcards: entries.recipe(
            STUDY, wildcards.recipe, fine_tune_id(**wildcards)
        ),
        seed=lambda wildcards: int(wildcards.seed),
        thinking=lambda wildcards: STUDY.models[wildcards.base]["thinking"],
        thinking_marks=lambda wildcards: STUDY.models[wildcards.base]["thinking_marks"],
        checkpoints=lambda wildcards: f"{EXPERIMENT}/checkpoints/{fine_tune_id(**wildcards)}",
    script:
        "../scripts/finetune.py"
