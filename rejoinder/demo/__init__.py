"""Two recorded meetings with their documents, and the player that sends a recording through the public API."""
