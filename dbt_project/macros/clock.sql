{#
    The one clock. `as_of_at()` is the UTC instant up to which the build knows the world: the last second of
    AS_OF_DATE (environment, or the variable `as_of_date`), else the sample company's last day, else, in prod, now.
    `as_of_date()` is its day. No other model or macro reads a clock.
#}
{% macro as_of_at() -%}
    {%- set day = var('as_of_date', none) or (env_var('AS_OF_DATE', '') if execute else '') -%}
    {%- if not day and target.name != 'prod' -%}
        {%- set day = var('sample_as_of_date') -%}
    {%- endif -%}
    {%- if day -%}
        cast('{{ modules.datetime.date.fromisoformat(day | string) }} 23:59:59' as {{ dbt.type_timestamp() }})
    {%- else -%}
        cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}' as {{ dbt.type_timestamp() }})
    {%- endif -%}
{%- endmacro %}

{#
    Whether something is no younger than the clock. Who or what has no readable birth (a customer, a company) is there
    all the same; an event without a time has no place, and staging compares its time itself.
#}
{% macro not_after_clock(column) -%}
    coalesce({{ column }} <= {{ as_of_at() }}, true)
{%- endmacro %}

{% macro as_of_date() -%}
    cast({{ as_of_at() }} as date)
{%- endmacro %}
