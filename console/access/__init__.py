"""Who may use the console, and how a browser proves it."""
