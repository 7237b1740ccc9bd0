{# Snapshots date their versions by the one clock, on every engine. dbt looks for this macro here before its own. #}
{% macro default__snapshot_get_time() -%}
    {{ as_of_at() }}
{%- endmacro %}
