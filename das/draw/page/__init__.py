"""Page: a run as one HTML file that needs nothing else. Python gathers what the folder holds, `static/` shows it."""
