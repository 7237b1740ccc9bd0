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
