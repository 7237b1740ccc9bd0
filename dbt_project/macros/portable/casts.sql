{#
    Raw values cast without failing: what cannot be read becomes null. Loaders land the same field as text,
    as a number or already typed; staging reads all of them through these.
#}
{% macro utc_timestamp(column) -%}
    {{ return(adapter.dispatch('try_cast_as')(column, dbt.type_timestamp())) }}
{%- endmacro %}

{% macro whole_number(column) -%}
    {{ return(adapter.dispatch('try_cast_as')(column, 'bigint')) }}
{%- endmacro %}

{% macro decimal_number(column, precision=18, scale=2) -%}
    {{ return(adapter.dispatch('try_cast_as')(column, 'decimal(' ~ precision ~ ', ' ~ scale ~ ')')) }}
{%- endmacro %}

{% macro true_or_false(column) -%}
    {{ return(adapter.dispatch('try_cast_as')(column, 'boolean')) }}
{%- endmacro %}

{% macro default__try_cast_as(column, type) -%}
    try_cast({{ column }} as {{ type }})
{%- endmacro %}
