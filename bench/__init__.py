"""The budgets, measured: `make bench` prints them all in one table, `python -m bench NAME ...` some of them."""
