{# Text without what surrounds it unseen: blanks, those of Japanese and of web pages too, line ends, a byte-order mark. #}
{% macro trimmed(text) -%}
    {{ return(adapter.dispatch('trimmed')(text)) }}
{%- endmacro %}

{# DuckDB, whose trim of more than blanks takes seven times as long as finding that there is nothing to trim. #}
{% macro default__trimmed(text) -%}
    case when regexp_matches({{ text }}, '^[!-~]+$') then {{ text }} else trim({{ text }}, '{{ unseen_characters() }}') end
{%- endmacro %}

{% macro postgres__trimmed(text) -%}
    btrim({{ text }}, '{{ unseen_characters() }}')
{%- endmacro %}

{% macro spark__trimmed(text) -%}
    trim(both '{{ unseen_characters() }}' from {{ text }})
{%- endmacro %}

{% macro unseen_characters() -%}
    {{ return(' \t\r\n\u00a0\u3000\u200b\ufeff') }}
{%- endmacro %}

{#
    An id as text, without what surrounds it unseen; empty is null. A whole number that landed as a floating one, as
    it does beside empty cells, is written without its point. `type` is the raw type, where it is known.
#}
{% macro clean_id(column, type=none) -%}
    {%- set is_floating = type is not none and (type.startswith('double') or type.startswith('float') or type == 'real') -%}
    {%- if is_floating -%}
        cast({{ whole_number(column, 9007199254740991) }} as {{ dbt.type_string() }})
    {%- else -%}
        nullif({{ trimmed('cast(' ~ column ~ ' as ' ~ dbt.type_string() ~ ')') }}, '')
    {%- endif -%}
{%- endmacro %}

{# Whether there is anything to read in a raw value. #}
{% macro is_filled(column) -%}
    nullif(trim(cast({{ column }} as {{ dbt.type_string() }})), '') is not null
{%- endmacro %}

{# An e-mail address as people mean it: nothing around it, lower case, empty is null. #}
{% macro normalised_email(column) -%}
    nullif(lower({{ trimmed(column) }}), '')
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

{# Words and values as one text; a value that is not known is called so, since text with null would be null. #}
{% macro sentence(parts) -%}
    {%- for part in parts -%}
        {{ '|| ' if not loop.first }}
        {%- if part.startswith("'") -%}
            {{ part }}
        {%- else -%}
            coalesce(cast({{ part }} as {{ dbt.type_string() }}), 'unknown')
        {%- endif -%}
        {{ '\n            ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
