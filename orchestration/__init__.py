"""Dagster: the only part that knows both the warehouse and the reverse ETL."""
