{#
    1 for the row that the loader landed last among those with the same key. Loaders land a row again when it
    changed, or twice by mistake; staging keeps rank 1. `key` is a raw column or a list of them.
#}
{% macro load_rank(key, loaded_at) -%}
    row_number() over (
        partition by {{ ([key] if key is string else key) | join(', ') }}
        order by {{ loaded_at }} desc
    )
{%- endmacro %}
