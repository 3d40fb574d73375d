"""The user's documents: resume and knowledge base, parsed, cut into passages and found again."""
