"""What is kept and how it is asked for: tables, transactions, queries."""
