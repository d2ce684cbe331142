"""WHAT we know: documents in, passages with exact spans out. Knows nothing of models that chat."""
