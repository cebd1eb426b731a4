"""What people read, in the languages of the page: a table each, and what is told by its keys."""
