# Questions to the workflow that run no model and change nothing: what would a run ask?
# In: whatever results there are. Out: words. Needs: the login node.


rule plan_requests:
    log:
        "<logs>/plan_requests.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        variants=get_planned_variants(),
        judges=get_planned_judges(),
    message:
        "What a run would ask, before anything is spent"
    script:
        "../scripts/plan_requests.py"
