"""The laboratory: routing, training, measurement, accounting. It knows contracts, never an environment by name."""
