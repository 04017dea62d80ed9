"""Shared code of the em-tiers workflow, one module an idea.

Modules that the Snakefile imports (`study` and its own imports) must stay free of heavy imports: a
login node parses the workflow without torch or vLLM.
"""
