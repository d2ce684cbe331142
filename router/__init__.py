"""WHICH model, and speaking to it. Knows nothing of documents, pages or recipes."""
