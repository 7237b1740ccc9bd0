{#
    One kind of thing from every tool that may hold it, as a subquery: `from {{ sources_union({...}, {...}) }}`.

    models   source name (of vars.sources) to the staging model that has it
    columns  column name to type; every model of `models` has them all
    called   source name to {column: expression} where its model calls one otherwise, or has none of it

    Sources switched off are left out; with none on there are no rows. `source_name` says whose a row is.
#}
{% macro sources_union(models, columns, called={}) -%}
    {%- set on = [] -%}
    {%- for source_name in models if var('sources')[source_name].enabled -%}
        {%- do on.append(source_name) -%}
    {%- endfor -%}
    (
        {%- for source_name in on %}
        select
            '{{ source_name }}' as source_name,
            {%- for column, type in columns.items() %}
            {%- set own = called.get(source_name, {}).get(column, column) %}
            {{ own if own == column else 'cast(' ~ own ~ ' as ' ~ type ~ ') as ' ~ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ ref(models[source_name]) }}
        {%- if not loop.last %}

        union all
        {% endif %}
        {%- else %}
        select
            cast(null as {{ dbt.type_string() }}) as source_name,
            {%- for column, type in columns.items() %}
            cast(null as {{ type }}) as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        where 1 = 0
        {%- endfor %}
    ) as every_source
{%- endmacro %}
