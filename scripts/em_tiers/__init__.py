"""Shared code of the em-tiers workflow, one module an idea.

Modules that the Snakefile imports (`config`, `variants`, `sources` and what they use) must stay
free of heavy imports: a login node parses the workflow without torch or vLLM.
"""
