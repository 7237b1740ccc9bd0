"""Reverse ETL: what changed in the models, delivered once to the tools that reach people.

A run walks: manifest -> ``spec`` and ``configuration`` (which syncs exist, and where they go)
-> ``warehouse`` (rows) -> ``planner`` (difference to the ledger) -> ``engine`` and ``push``
(gates, batches, outcomes) -> ``ledger``.
"""
