"""Model cards: facts from the records, in words, tables and metadata; and what goes to the hub."""
