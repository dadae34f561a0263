"""The only place that knows what a secret looks like: one rule list, as data, and the function that applies it."""
