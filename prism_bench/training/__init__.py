"""SFT and RL, both with TRL."""
