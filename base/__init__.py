"""What every room may use and that uses none: errors, settings, files, progress."""
