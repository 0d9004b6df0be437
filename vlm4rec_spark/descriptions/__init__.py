"""Pictures in, words out: prompts, answers, and the engine that serves the model."""
