{#
    What a warehouse must be told or asked after a table is written, as a post-hook. Postgres plans a table that nobody
    analysed as if it were tiny, and then joins for minutes. DuckDB knows a table's rows at no cost, but does not say them.
#}
{% macro statistics(relation) -%}
    {{ return(adapter.dispatch('statistics')(relation)) }}
{%- endmacro %}

{% macro default__statistics(relation) -%}
{%- endmacro %}

{% macro duckdb__statistics(relation) -%}
    {%- if execute and model.config.materialized != 'view' -%}
        {%- set rows = run_query('select count(*) from ' ~ relation).columns[0].values()[0] | int -%}
        {%- do store_raw_result(name='main', message='SELECT ' ~ rows, code='SELECT', rows_affected=rows) -%}
    {%- endif -%}
{%- endmacro %}

{% macro postgres__statistics(relation) -%}
    {%- if model.config.materialized != 'view' -%}
        analyze {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#
    Goes between `as` and the bracket of a CTE whose columns are long expressions that later steps use many times.
    Postgres would write each of them out at every use, and compute it as often.
#}
{% macro computed_once() -%}
    {{ return(adapter.dispatch('computed_once')()) }}
{%- endmacro %}

{% macro default__computed_once() -%}
{%- endmacro %}

{% macro postgres__computed_once() -%}
    materialized
{%- endmacro %}
