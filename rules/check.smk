# Check: every training row, question and rubric is rendered with the tokenizer and chat template of
# every model, so that what does not fit stops the run before any GPU job.
# In: model folders, train.jsonl, questions. Out: prompts/, a table per model, and chat templates
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
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../scripts/prepare_template.py"


rule check_prompts:
    input:
        model="<resources>/models/{model}",
        train=lambda wildcards: below(
            "<experiment>", checked_prompts.training_files(STUDY, wildcards.model)
        ),
        questions=lambda wildcards: below(
            "<experiment>", checked_prompts.questions(STUDY, wildcards.model)
        ),
        asked=lambda wildcards: below(
            "<experiment>", checked_prompts.judged_questions(STUDY, wildcards.model)
        ),
        cards=lambda wildcards: below(
            "<experiment>", checked_prompts.card_files(STUDY, wildcards.model)
        ),
        chat_template=lambda wildcards: entries.chat_template(STUDY, wildcards.model),
        src=get_sources("check_prompts"),
    output:
        table="<experiment>/prompts/{model}.csv",
    log:
        "<logs>/check_prompts/{model}.log",
    benchmark:
        "<benchmarks>/check_prompts/{model}.tsv"
    conda:
        "../envs/cuda.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        attempt=lambda wildcards, attempt: attempt,
    params:
        datasets=lambda wildcards: checked_prompts.datasets(STUDY, wildcards.model),
        trainings=lambda wildcards: checked_prompts.trainings(STUDY, wildcards.model),
        judges=lambda wildcards: checked_prompts.judges(STUDY, wildcards.model),
        carded=lambda wildcards: checked_prompts.carded(STUDY, wildcards.model),
        room=entries.engine(STUDY)["max_model_len"],
        new_tokens=checked_prompts.new_tokens(STUDY),
        thinking=lambda wildcards: STUDY.models[wildcards.model]["thinking"],
        thinking_marks=lambda wildcards: STUDY.models[wildcards.model]["thinking_marks"],
    script:
        "../scripts/check_prompts.py"
