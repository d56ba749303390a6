"""What proposes the trials of a search: kcnn's own samplers, and adapters of keras-tuner and Optuna."""
