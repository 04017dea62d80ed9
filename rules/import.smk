# Import: answers, and answers with scores, that were made elsewhere become variants.
# In: a CSV, JSONL or Parquet file. Out: responses/, verdicts/ of imported judges. Needs: one CPU.


for IMPORT in STUDY.config["imports"]:

    rule:
        name:
            f"import_{IMPORT['id']}"
        input:
            table=STUDY.find_file(IMPORT["path"]),
            src=get_sources("import_responses"),
        output:
            responses=f"<results>/responses/import.{IMPORT['id']}.parquet",
            rejected=f"<results>/imports/{IMPORT['id']}.rejected.jsonl",
            verdicts=[
                f"<results>/verdicts/{judge}/import.{IMPORT['id']}.parquet"
                for judge in IMPORT["scores"]
            ],
        log:
            f"<logs>/import_responses/{IMPORT['id']}.log",
        benchmark:
            f"<benchmarks>/import_responses/{IMPORT['id']}.tsv"
        conda:
            "../envs/workflow.yaml"
        resources:
            mem_mb=lambda wildcards, attempt: 8000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            variant=STUDY.variants[f"import.{IMPORT['id']}"].as_key(),
            settings=get_import_settings(IMPORT),
        message:
            f"Import answers {IMPORT['id']}"
        script:
            "../scripts/import_responses.py"
