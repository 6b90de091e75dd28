"""Makes a recorded machine fit to be handed on: who and what it is about gets other names."""
