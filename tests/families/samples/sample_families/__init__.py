"""Two task families for Noria's tests: which items a query wants, and the names in a text."""
