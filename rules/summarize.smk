# summarize
