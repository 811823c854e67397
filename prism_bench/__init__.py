"""The laboratory: what decides, trains, measures and charges. It knows contracts, never the name of an environment."""
