"""The leaderboard as one page for a browser: what it shows (data) and how (html)."""
