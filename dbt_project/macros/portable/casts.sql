{#
    Raw values read without failing: what cannot be read becomes null. Loaders land the same field as text,
    as a number or already typed; staging reads all of them through these.
#}

{#
    An instant in UTC, as a timestamp without a zone. Reads typed timestamps, ISO text with an offset, `Z`, a zone's
    name (not on Postgres) or nothing (then it is UTC), and epoch seconds (9 to 11 digits), milliseconds (12 to 14) or
    microseconds (15 to 17), as number or text.
#}
{% macro utc_timestamp(column) -%}
    {{ return(adapter.dispatch('utc_timestamp')(column)) }}
{%- endmacro %}

{# A whole number; one beyond `at_most`, either way, is no number that anybody meant. Amounts in minor units go further. #}
{% macro whole_number(column, at_most=2147483647) -%}
    {%- set number = adapter.dispatch('try_cast_as')(column, 'bigint') -%}
    case when {{ number }} between -{{ at_most }} and {{ at_most }} then {{ number }} end
{%- endmacro %}

{# An amount in a currency's minor units: up to a hundred million of the major unit, ten thousand million yen. #}
{% macro minor_units(column) -%}
    {{ return(whole_number(column, 10000000000)) }}
{%- endmacro %}

{# Seats, or a quantity of anything that is sold: at most a million. #}
{% macro quantity_sold(column) -%}
    {{ return(whole_number(column, 1000000)) }}
{%- endmacro %}

{% macro decimal_number(column, precision=18, scale=2) -%}
    {{ return(adapter.dispatch('try_cast_as')(column, 'decimal(' ~ precision ~ ', ' ~ scale ~ ')')) }}
{%- endmacro %}

{# A truth in any of the words that tools and spreadsheets have for it, the same on every engine. #}
{% macro true_or_false(column) -%}
    case
        when lower(trim(cast({{ column }} as {{ dbt.type_string() }}))) in ('true', 't', 'yes', 'y', 'on', '1', '1.0') then true
        when lower(trim(cast({{ column }} as {{ dbt.type_string() }}))) in ('false', 'f', 'no', 'n', 'off', '0', '0.0') then false
    end
{%- endmacro %}

{# Whether somebody asked to be left alone: whatever stands there and does not say no counts as a yes. #}
{% macro asked_to_stop(column) -%}
    coalesce({{ true_or_false(column) }}, {{ is_filled(column) }})
{%- endmacro %}

{# The text at a path (`a.b`) of a JSON column, whatever type holds it; null when it is no JSON. #}
{% macro json_path_text(column, path) -%}
    {{ return(adapter.dispatch('json_path_text')(column, path)) }}
{%- endmacro %}

{# One row for each text of a JSON list; goes into a select list. #}
{% macro json_list_rows(column) -%}
    {{ return(adapter.dispatch('json_list_rows')(column)) }}
{%- endmacro %}

{# DuckDB and Spark #}

{% macro default__try_cast_as(column, type) -%}
    try_cast({{ column }} as {{ type }})
{%- endmacro %}

{# DuckDB: a cast of text to timestamp ignores the offset, so text with one is cast to timestamptz. #}
{% macro default__utc_timestamp(column) -%}
    {%- set text = 'trim(cast(' ~ column ~ ' as varchar))' -%}
    case
        when typeof({{ column }}) = 'TIMESTAMP' then try_cast({{ column }} as timestamp)
        when regexp_full_match({{ text }}, '\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}([.]\d+)?)?)?')
            then try_cast({{ text }} as timestamp)
        when regexp_full_match({{ text }}, '\d{4}[-/].+')
            then timezone('UTC', try_cast({{ text }} as timestamptz))
        when regexp_full_match({{ text }}, '\d{9,11}([.]\d+)?')
            then make_timestamp(cast(try_cast({{ text }} as decimal(38, 6)) * 1000000 as bigint))
        when regexp_full_match({{ text }}, '\d{12,14}')
            then make_timestamp(try_cast({{ text }} as bigint) * 1000)
        when regexp_full_match({{ text }}, '\d{15,17}')
            then make_timestamp(try_cast({{ text }} as bigint))
    end
{%- endmacro %}

{% macro default__json_path_text(column, path) -%}
    json_extract_string(try_cast({{ column }} as json), '$.{{ path }}')
{%- endmacro %}

{% macro default__json_list_rows(column) -%}
    unnest(json_extract_string(try_cast({{ column }} as json), '$[*]'))
{%- endmacro %}

{# Postgres, which has no try_cast: only text that surely fits is cast. #}

{% macro postgres__try_cast_as(column, type) -%}
    {%- set text = 'trim(cast(' ~ column ~ ' as text))' -%}
    case
        when {{ text }} ~ '^[-+]?\d{1,15}([.]\d*)?$' then cast(cast({{ text }} as numeric) as {{ type }})
    end
{%- endmacro %}

{% macro postgres__utc_timestamp(column) -%}
    {%- set text = 'trim(cast(' ~ column ~ ' as text))' -%}
    {%- set year_month = "(substring(replace(" ~ text ~ ", '/', '-') from '^\\d{4}-\\d{1,2}') || '-01')" -%}
    {%- set day = "cast(substring(" ~ text ~ " from '^\\d{4}[-/]\\d{1,2}[-/](\\d{1,2})') as integer)" -%}
    {%- set zone = "(Z|\\s?UTC|[-+](0\\d|1[0-4])(:?[0-5]\\d)?)" -%}
    case
        when {{ text }} ~ '^[1-9]\d{3}[-/](0?[1-9]|1[0-2])[-/]\d{1,2}([T ]([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d+)?)?{{ zone }}?)?$'
            then case
                -- a month has its days, and no more
                when {{ day }} between 1 and extract(day from cast({{ year_month }} as date) + interval '1 month - 1 day')
                    then case
                        when {{ text }} ~ '{{ zone }}$' and {{ text }} like '%:%'
                            then cast({{ text }} as timestamptz) at time zone 'UTC'
                        else cast({{ text }} as timestamp)
                    end
            end
        when {{ text }} ~ '^\d{9,11}([.]\d+)?$' then to_timestamp(cast({{ text }} as double precision)) at time zone 'UTC'
        when {{ text }} ~ '^\d{12,14}$' then to_timestamp(cast({{ text }} as double precision) / 1000) at time zone 'UTC'
        when {{ text }} ~ '^\d{15,17}$' then to_timestamp(cast({{ text }} as double precision) / 1000000) at time zone 'UTC'
    end
{%- endmacro %}

{# Postgres up to 15 cannot ask whether a text is JSON: what does not begin and end like an object or a list is none. #}
{% macro postgres__json_path_text(column, path) -%}
    case
        when trim(cast({{ column }} as text)) ~ '^\{.*\}$'
            then cast(cast({{ column }} as text) as json) #>> '{ {{- path | replace('.', ',') -}} }'
    end
{%- endmacro %}

{% macro postgres__json_list_rows(column) -%}
    json_array_elements_text(
        case when trim(cast({{ column }} as text)) ~ '^\[.*\]$' then cast(cast({{ column }} as text) as json) end
    )
{%- endmacro %}

{# Spark, whose session is in UTC: its timestamp is an instant, and a cast of text follows the offset. #}

{% macro spark__utc_timestamp(column) -%}
    {%- set text = 'trim(cast(' ~ column ~ ' as string))' -%}
    case
        when {{ text }} rlike '^[0-9]{4}[-/]' then try_cast(replace({{ text }}, '/', '-') as timestamp)
        when {{ text }} rlike '^[0-9]{9,11}([.][0-9]+)?$' then timestamp_micros(cast(cast({{ text }} as decimal(38, 6)) * 1000000 as bigint))
        when {{ text }} rlike '^[0-9]{12,14}$' then timestamp_millis(cast({{ text }} as bigint))
        when {{ text }} rlike '^[0-9]{15,17}$' then timestamp_micros(cast({{ text }} as bigint))
    end
{%- endmacro %}

{% macro spark__json_path_text(column, path) -%}
    get_json_object(cast({{ column }} as string), '$.{{ path }}')
{%- endmacro %}

{% macro spark__json_list_rows(column) -%}
    explode(from_json(cast({{ column }} as string), 'array<string>'))
{%- endmacro %}
