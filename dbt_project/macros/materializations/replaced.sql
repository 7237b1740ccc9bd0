{#
    Tables and views on DuckDB, replaced by one statement inside the model's transaction. dbt's own build beside the old
    relation, rename twice and drop afterwards, for readers who look meanwhile: nobody can, as dbt holds the file.
    What fails leaves the old relation as it was.
#}
{% materialization table, adapter='duckdb' -%}
    {{ return({'relations': [replaced(this.incorporate(type='table'))]}) }}
{%- endmaterialization %}

{% materialization view, adapter='duckdb' -%}
    {{ return({'relations': [replaced(this.incorporate(type='view'))]}) }}
{%- endmaterialization %}

{% macro replaced(relation) -%}
    {%- set existing = load_cached_relation(relation) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- call statement('main') -%}
        {%- if existing is not none %}
        drop {{ existing.type }} {{ existing }} cascade;
        {%- endif %}
        {{ create_table_as(false, relation, sql) if relation.is_table else create_view_as(relation, sql) }}
    {%- endcall -%}
    {%- do persist_docs(relation, model) -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return(relation) }}
{%- endmacro %}
