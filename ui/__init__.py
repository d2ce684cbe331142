"""The parts of the chat page: events become steps and tokens. No decisions, no model names."""
