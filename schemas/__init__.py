"""What travels: the records, the table of topics and how they become bytes."""
