"""Chat templates, the engine and its settings, adapters, and sampling. Knows no judge."""
