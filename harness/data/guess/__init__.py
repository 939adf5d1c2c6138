"""`bench init`: what a file of texts and labels holds."""
