{# Whole days from one date or timestamp to another: calendar days, negative when the second is earlier. #}
{% macro days_between(earlier, later) -%}
    cast({{ dbt.datediff('cast(' ~ earlier ~ ' as date)', 'cast(' ~ later ~ ' as date)', 'day') }} as integer)
{%- endmacro %}

{# A day some days before another day, as a date. #}
{% macro days_before(day, days) -%}
    cast({{ dbt.dateadd('day', '-1 * ' ~ days, day) }} as date)
{%- endmacro %}

{# The first instant of the day after a day. #}
{% macro next_day(day) -%}
    cast({{ dbt.dateadd('day', 1, 'cast(' ~ day ~ ' as ' ~ dbt.type_timestamp() ~ ')') }} as {{ dbt.type_timestamp() }})
{%- endmacro %}
