"""`relay …`: a face. A command a file; it reads events and prints them."""
