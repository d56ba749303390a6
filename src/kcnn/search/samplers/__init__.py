"""What proposes the trials of a search: kcnn's own samplers, and those of keras-tuner and Optuna behind an adapter each."""
