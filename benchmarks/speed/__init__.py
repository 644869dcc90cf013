"""What a decision costs beside its models, measured side by side (design/benchmarks.md)."""
