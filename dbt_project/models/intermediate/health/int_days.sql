-- The days that are scored again in every build, the clock's own day last.
{{ dbt.date_spine(
    'day',
    days_before(as_of_date(), var('health_history_days') - 1),
    days_before(as_of_date(), -1)
) }}
