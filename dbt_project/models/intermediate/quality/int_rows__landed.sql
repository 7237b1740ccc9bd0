-- What was wrong with rows as they landed: no key, landed more than once, a time that cannot be read.
{% set raw_tables = {
    'stripe': {
        'customer': (['id'], ['created']),
        'subscription_history': (['id', '_fivetran_start'], ['created', 'start_date', 'trial_end', 'ended_at', '_fivetran_start']),
        'subscription_item': (['id'], ['created']),
        'price': (['id'], []),
        'product': (['id'], []),
        'invoice': (['id'], ['created', 'due_date']),
        'invoice_line_item': (['id'], ['period_start', 'period_end']),
        'coupon': (['id'], ['created']),
        'discount': (['id'], ['start', 'end']),
    },
    'zendesk': {
        'organization': (['id'], ['created_at']),
        'user': (['id'], ['created_at']),
        'ticket': (['id'], ['created_at', 'updated_at']),
    },
    'segment': {
        'tracks': (['id'], ['timestamp', 'received_at']),
        'identifies': (['id'], ['timestamp', 'received_at']),
        'groups': (['id'], ['timestamp', 'received_at']),
        'pages': (['id'], ['timestamp', 'received_at']),
        'error_encountered': (['id'], ['timestamp', 'received_at']),
    },
    'posthog': {
        'events': (['uuid'], ['timestamp', 'arrived_at']),
    },
    'hubspot': {
        'company': (['id'], ['property_createdate', 'property_renewal_date']),
        'contact': (['id'], ['property_createdate']),
        'email_event': (['id'], ['created']),
    },
    'surveys': {
        'nps_answers': (['id'], ['answered_at']),
        'csat_answers': (['id'], ['answered_at']),
    },
    'community': {
        'users': (['id'], ['created_at']),
        'posts': (['id'], ['created_at']),
        'ideas': (['id'], ['created_at']),
    },
} %}
{% set times_at_most = 5 %}
with

-- every row of every raw table that is in use: its key, which of the rows with that key it is, its times
raw_rows as (

    {% for source_name, tables in raw_tables.items() if var('sources')[source_name].enabled %}
    {% for table, (key, times) in tables.items() %}
    select
        '{{ source_name }}' as source,
        '{{ table }}' as raw_table,
        cast({{ key[0] }} as {{ dbt.type_string() }}) as row_key,
        {% for place in range(times_at_most) %}
        cast({{ adapter.quote(times[place]) if place < times | length else 'null' }} as {{ dbt.type_string() }}) as time_{{ place }},
        {% endfor %}
        row_number() over (partition by {{ key | join(', ') }} order by {{ key[0] }}) as key_rank
    from {{
        stripe(table) if source_name == 'stripe'
        else zendesk(table) if source_name == 'zendesk'
        else posthog_events() if source_name == 'posthog'
        else landed(source_name, table, key + times, optional=true)
    }}

    union all

    {% endfor %}
    {% endfor %}
    -- so that there is something to read with every source switched off
    select
        cast(null as {{ dbt.type_string() }}) as source,
        cast(null as {{ dbt.type_string() }}) as raw_table,
        cast(null as {{ dbt.type_string() }}) as row_key,
        {% for place in range(times_at_most) %}
        cast(null as {{ dbt.type_string() }}) as time_{{ place }},
        {% endfor %}
        cast(null as bigint) as key_rank
    where 1 = 0

),

broken as (

    select
        source,
        {{ dbt.concat(['raw_table', "'_without_key'"]) }} as rule,
        row_key
    from raw_rows
    where row_key is null

    union all

    select
        source,
        {{ dbt.concat(['raw_table', "'_landed_again'"]) }} as rule,
        row_key
    from raw_rows
    where
        row_key is not null
        and key_rank > 1

    union all

    select
        source,
        {{ dbt.concat(['raw_table', "'_with_unreadable_time'"]) }} as rule,
        row_key
    from raw_rows
    where
        1 = 0
        {% for place in range(times_at_most) %}
        or (time_{{ place }} is not null and {{ utc_timestamp('time_' ~ place) }} is null)
        {% endfor %}

),

final as (

    select
        source,
        rule,
        count(*) as row_count,
        min(row_key) as example_key
    from broken
    group by
        source,
        rule

)

select * from final
