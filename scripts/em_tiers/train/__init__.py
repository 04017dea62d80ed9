"""Fine-tuning: rows as tokens, the trainer, its checkpoints and its summary."""
