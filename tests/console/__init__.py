"""The console in a real Chromium, on a real stack. Run by ``make test-console``, which brings both."""
