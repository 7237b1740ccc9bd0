{# The local time in a time zone (IANA name) at an instant in UTC. An unknown zone fails on no engine: staging keeps those out. #}
{% macro local_time(instant, zone) -%}
    {{ return(adapter.dispatch('local_time')(instant, zone)) }}
{%- endmacro %}

{% macro default__local_time(instant, zone) -%}
    timezone({{ zone }}, timezone('UTC', {{ instant }}))
{%- endmacro %}

{% macro postgres__local_time(instant, zone) -%}
    timezone({{ zone }}, timezone('UTC', {{ instant }}))
{%- endmacro %}

{% macro spark__local_time(instant, zone) -%}
    from_utc_timestamp({{ instant }}, {{ zone }})
{%- endmacro %}

{# The hour of a timestamp, 0 to 23. #}
{% macro hour_of(instant) -%}
    cast(extract(hour from {{ instant }}) as integer)
{%- endmacro %}

{# Whether a day is a Saturday or Sunday, counted from a Monday, since engines number the days of the week each their own way. #}
{% macro is_weekend(day) -%}
    mod({{ days_between("cast('2018-01-01' as date)", day) }}, 7) >= 5
{%- endmacro %}

{# A share from 0 to 1 that is the same for the same text on every engine: the first 28 bits of its md5. #}
{% macro hash_share(text) -%}
    {{ return(adapter.dispatch('hash_share')(text)) }}
{%- endmacro %}

{% macro default__hash_share(text) -%}
    (cast('0x' || substr(md5({{ text }}), 1, 7) as bigint) / 268435456.0)
{%- endmacro %}

{% macro postgres__hash_share(text) -%}
    (cast(cast('x' || substr(md5({{ text }}), 1, 7) as bit(28)) as bigint) / 268435456.0)
{%- endmacro %}

{% macro spark__hash_share(text) -%}
    (cast(conv(substr(md5({{ text }}), 1, 7), 16, 10) as bigint) / 268435456.0)
{%- endmacro %}
