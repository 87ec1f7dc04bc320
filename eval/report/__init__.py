"""What a run found: `document` for programs, `terminal`, `summary` and `page` for people."""
