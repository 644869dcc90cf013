"""What must hold when everything around it breaks: long runs, each with a section of RESULTS.md."""
