"""The sample company: raw tables of six sources about the customers of Kumo, a fictional product,
and the truth behind them.

Every customer is told from its own random stream, so a customer stays the same whatever the
number of customers.
"""
