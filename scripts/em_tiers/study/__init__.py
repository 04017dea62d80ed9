"""The configuration: its schema, its checks, and the variants, batches and inputs that follow."""
