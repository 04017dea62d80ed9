# Import: answers made elsewhere, with or without scores, become variants.
# In: a CSV, JSONL or Parquet file. Out: responses/; imports/ with the verdicts of imported judges
# and with rejected rows and warnings. Needs: one CPU.


rule import_responses:
    input:
        table=lambda wildcards: STUDY.find_file(
            STUDY.imports[wildcards.imported]["path"]
        ),
        base=lambda wildcards: inputs.responses_of_base(STUDY, wildcards.imported),
        questions=lambda wildcards: inputs.questions_of_base(STUDY, wildcards.imported),
        src=get_sources("import_responses"),
    output:
        responses="<experiment>/responses/import.{imported}.parquet",
        verdicts="<experiment>/imports/import.{imported}.parquet",
        rejected="<experiment>/imports/{imported}.rejected.jsonl",
        warnings="<experiment>/imports/{imported}.warnings.json",
    log:
        "<logs>/import_responses/{imported}.log",
    benchmark:
        "<benchmarks>/import_responses/{imported}.tsv"
    wildcard_constraints:
        imported="[a-z0-9-]+",
    conda:
        "../envs/workflow.yaml"
    container:
        IMAGES["workflow"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        variant=lambda wildcards: STUDY.variants[
            f"import.{wildcards.imported}"
        ].as_key(),
        settings=lambda wildcards: entries.import_settings(STUDY, wildcards.imported),
    script:
        "../scripts/import_responses.py"
