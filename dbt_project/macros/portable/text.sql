{# An e-mail address as people mean it: no surrounding blanks, lower case, empty is null. #}
{% macro normalised_email(column) -%}
    nullif(lower(trim({{ column }})), '')
{%- endmacro %}

{# The domain part of a normalised address. #}
{% macro email_domain(column) -%}
    nullif({{ dbt.split_part(column, "'@'", 2) }}, '')
{%- endmacro %}

{# A deterministic 32-digit id out of expressions; null counts as empty. #}
{% macro hashed_id(parts) -%}
    md5(
        {%- for part in parts %}
        coalesce(cast({{ part }} as {{ dbt.type_string() }}), ''){{ " || '|' ||" if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{# The text at a top-level key of a JSON column. #}
{% macro json_text(column, key) -%}
    {{ return(adapter.dispatch('json_text')(column, key)) }}
{%- endmacro %}

{% macro default__json_text(column, key) -%}
    json_extract_string({{ column }}, '$.{{ key }}')
{%- endmacro %}

{% macro postgres__json_text(column, key) -%}
    (nullif({{ column }}, '')::json ->> '{{ key }}')
{%- endmacro %}

{% macro spark__json_text(column, key) -%}
    get_json_object({{ column }}, '$.{{ key }}')
{%- endmacro %}
