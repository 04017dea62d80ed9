# Check: every training row, question and rubric is rendered with the tokenizer and chat template of
# every model, so that what does not fit stops the run before any GPU job.
# In: model folders, train.jsonl, questions. Out: prompts/, a table per fine-tune, batch and judge, and chat templates
# with the system text before the question. Needs: one CPU.


rule prepare_template:
    input:
        model="<resources>/models/{model}",
        chat_template=lambda wildcards: entries.own_template(STUDY, wildcards.model),
        src=get_sources("prepare_template"),
    output:
        template="<experiment>/prompts/{model}.jinja",
    log:
        "<logs>/prepare_template/{model}.log",
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../scripts/prepare_template.py"


rule check_prompts:
    input:
        model=lambda wildcards: f"<resources>/models/{checked_prompts.model_of(STUDY, **wildcards)}",
        train=lambda wildcards: below(
            "<experiment>", checked_prompts.training_files(STUDY, **wildcards)
        ),
        questions=lambda wildcards: below(
            "<experiment>", checked_prompts.questions(STUDY, **wildcards)
        ),
        asked=lambda wildcards: below(
            "<experiment>", checked_prompts.judged_questions(STUDY, wildcards.stage)
        ),
        cards=lambda wildcards: below(
            "<experiment>", checked_prompts.card_files(STUDY, wildcards.stage)
        ),
        chat_template=lambda wildcards: entries.chat_template(
            STUDY, checked_prompts.model_of(STUDY, **wildcards)
        ),
        published=lambda wildcards: checked_prompts.published(STUDY, **wildcards),
        src=get_sources("check_prompts"),
    output:
        table="<experiment>/prompts/{stage}/{name}.csv",
    log:
        "<logs>/check_prompts/{stage}/{name}.log",
    benchmark:
        "<benchmarks>/check_prompts/{stage}/{name}.tsv"
    wildcard_constraints:
        stage="finetune|sample|judge",
        name="[a-z0-9.-]+",
    # Before jobs that take hours and do not wait for a judge's check.
    priority: 10
    conda:
        "../envs/cuda.yaml"
    container:
        IMAGES["cuda"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        trainings=lambda wildcards: checked_prompts.trainings(STUDY, **wildcards),
        judges=lambda wildcards: checked_prompts.judges(STUDY, **wildcards),
        carded=lambda wildcards: checked_prompts.carded(STUDY, wildcards.stage),
        sampled=lambda wildcards: checked_prompts.sampled(STUDY, wildcards.stage),
        thinking=lambda wildcards: STUDY.models[
            checked_prompts.model_of(STUDY, **wildcards)
        ]["thinking"],
        thinking_marks=lambda wildcards: STUDY.models[
            checked_prompts.model_of(STUDY, **wildcards)
        ]["thinking_marks"],
    script:
        "../scripts/check_prompts.py"
