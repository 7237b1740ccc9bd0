{#
    What a warehouse must be told after a table is written, as a post-hook. Postgres plans a table that nobody analysed
    as if it were tiny, and then joins for minutes; the others count on their own.
#}
{% macro statistics(relation) -%}
    {{ return(adapter.dispatch('statistics')(relation)) }}
{%- endmacro %}

{% macro default__statistics(relation) -%}
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
