-- What was wrong with rows as they landed: no key, landed more than once, a time that cannot be read.
{% set tables = [
    ('segment', 'tracks', 'id', 'received_at', ['timestamp', 'received_at']),
    ('segment', 'identifies', 'id', 'received_at', ['timestamp', 'received_at']),
    ('segment', 'groups', 'id', 'received_at', ['timestamp', 'received_at']),
    ('segment', 'pages', 'id', 'received_at', ['timestamp', 'received_at']),
    ('segment', 'error_encountered', 'id', 'received_at', ['timestamp', 'received_at']),
    ('hubspot', 'company', 'id', '_fivetran_synced', ['property_createdate', 'property_renewal_date']),
    ('hubspot', 'contact', 'id', '_fivetran_synced', ['property_createdate']),
    ('hubspot', 'email_event', 'id', '_fivetran_synced', ['created']),
    ('surveys', 'nps_answers', 'id', '_loaded_at', ['answered_at']),
    ('surveys', 'csat_answers', 'id', '_loaded_at', ['answered_at']),
    ('community', 'posts', 'id', '_loaded_at', ['created_at']),
    ('community', 'ideas', 'id', '_loaded_at', ['created_at']),
] %}
with

{% for source_name, table, key, loaded_at, times in tables %}
{{ source_name }}_{{ table }} as (

    select
        cast({{ key }} as {{ dbt.type_string() }}) as row_key,
        {{ load_rank(key, loaded_at) }} as load_rank,
        case
            when
                {% for time in times %}
                ({{ adapter.quote(time) }} is not null and {{ utc_timestamp(adapter.quote(time)) }} is null)
                {{ 'or' if not loop.last }}
                {% endfor %}
                then 1
            else 0
        end as is_unreadable
    from {{ source('raw_' ~ source_name, table) }}

),

{% endfor %}
final as (

    {% for source_name, table, key, loaded_at, times in tables %}
    select
        '{{ source_name }}' as source,
        '{{ table }}_without_key' as rule,
        sum(case when row_key is null then 1 else 0 end) as row_count,
        cast(null as {{ dbt.type_string() }}) as example_key
    from {{ source_name }}_{{ table }}

    union all

    select
        '{{ source_name }}' as source,
        '{{ table }}_landed_again' as rule,
        sum(case when row_key is not null and load_rank > 1 then 1 else 0 end) as row_count,
        min(case when load_rank > 1 then row_key end) as example_key
    from {{ source_name }}_{{ table }}

    union all

    select
        '{{ source_name }}' as source,
        '{{ table }}_with_unreadable_time' as rule,
        sum(is_unreadable) as row_count,
        min(case when is_unreadable = 1 then row_key end) as example_key
    from {{ source_name }}_{{ table }}
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

)

select * from final
