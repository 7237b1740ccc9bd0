{# The columns of one rule of marts.data_quality, as a select list over the rows that break it. #}
{% macro rule_count(source_name, rule, key, row_count='count(*)') -%}
    '{{ source_name }}' as source,
        '{{ rule }}' as rule,
        {{ row_count }} as row_count,
        min({{ key }}) as example_key
{%- endmacro %}
