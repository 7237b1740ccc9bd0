{#
    1 for the row that the loader landed last among those with the same key. Loaders land a row again when it
    changed, or twice by mistake; staging keeps rank 1. `key` is a raw column or a list of them, and so is
    `loaded_at`: of rows landed at the same moment, the later by the next column wins. Where not even that tells them
    apart, the greater in `ties` does, so that every build keeps the same one.
#}
{% macro load_rank(key, loaded_at, ties=[]) -%}
    row_number() over (
        partition by {{ ([key] if key is string else key) | join(', ') }}
        order by
            {%- for column in ([loaded_at] if loaded_at is string else loaded_at) %}
            {{ utc_timestamp(column) }} desc nulls last{{ ',' if ties or not loop.last }}
            {%- endfor %}
            {%- for column in ties %}
            {{ adapter.quote(column) }} desc nulls last{{ ',' if not loop.last }}
            {%- endfor %}
    )
{%- endmacro %}
