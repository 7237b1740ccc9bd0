-- What was wrong with rows as they landed: no key, landed more than once, a time or number that cannot be read, no time
-- to place an event at, or one that the clock has not reached.
--
--   key      what makes a row one; `id` where nothing is said
--   times    every time that is read
--   numbers  every number that is read, with how far it may go
--   at       when it happened or began, the first that is filled; an event without one is set aside, a thing is not
--   arrived  when the loader's sender had it, where that decides what is known at the clock
{% set seats = 1000000 %}
{% set amount = 10000000000 %}
{% set number = 2147483647 %}
{% set sent = {'times': ['timestamp', 'received_at'], 'at': ['timestamp'], 'arrived': 'received_at', 'is_event': true} %}
{% set answered = {'times': ['answered_at'], 'numbers': {'score': number}, 'at': ['answered_at'], 'is_event': true} %}
{% set written = {'times': ['created_at'], 'at': ['created_at'], 'is_event': true} %}
{% set made = {'times': ['created_at'], 'at': ['created_at']} %}
{% set version = {'key': ['id', 'updated_at', '_fivetran_active'], 'times': ['created_at', 'updated_at'], 'at': ['created_at']} %}
{% set activity = {'times': ['activity_date'], 'at': ['activity_date'], 'is_event': true} %}
{% set created = {'times': ['created_date'], 'at': ['created_date']} %}
{% set raw_tables = {
    'stripe': {
        'customer': {'times': ['created'], 'at': ['created']},
        'subscription_history': {
            'key': ['id', '_fivetran_start'],
            'times': [
                'created', 'start_date', 'trial_start', 'trial_end', 'current_period_start', 'current_period_end',
                'canceled_at', 'ended_at', '_fivetran_start', '_fivetran_end',
            ],
            'numbers': {'quantity': seats},
            'at': ['_fivetran_start', 'start_date', 'created'],
        },
        'subscription_item': {
            'times': ['created', 'current_period_start', 'current_period_end'],
            'numbers': {'quantity': seats},
            'at': ['created'],
        },
        'price': {'numbers': {'unit_amount': amount, 'recurring_interval_count': number}},
        'product': {},
        'invoice': {
            'times': ['created', 'due_date'],
            'numbers': {'amount_due': amount, 'amount_remaining': amount},
            'at': ['created', 'period_end'],
        },
        'invoice_line_item': {
            'times': ['period_start', 'period_end'],
            'numbers': {'quantity': seats, 'amount': amount},
        },
        'coupon': {'times': ['created'], 'numbers': {'amount_off': amount, 'duration_in_months': number}},
        'discount': {'times': ['start', 'end'], 'at': ['start'], 'is_event': true},
    },
    'zendesk': {
        'organization': made,
        'user': made,
        'ticket': {'times': ['created_at', 'updated_at'], 'at': ['created_at', 'updated_at'], 'is_event': true},
        'ticket_comment': {'times': ['created'], 'at': ['created'], 'is_event': true},
        'ticket_field_history': {
            'key': ['ticket_id', 'field_name', 'updated'],
            'times': ['updated'],
            'at': ['updated'],
            'is_event': true,
        },
    },
    'segment': {
        'tracks': sent,
        'identifies': sent,
        'groups': sent,
        'pages': sent,
        'error_encountered': sent,
    },
    'posthog': {
        'events': {
            'key': ['uuid'],
            'times': ['timestamp', 'arrived_at'],
            'at': ['timestamp'],
            'arrived': 'arrived_at',
            'is_event': true,
        },
    },
    'hubspot': {
        'company': {
            'times': ['property_createdate', 'property_renewal_date'],
            'numbers': {'property_numberofemployees': number, 'property_contract_term_months': number},
            'at': ['property_createdate'],
        },
        'contact': {'times': ['property_createdate'], 'at': ['property_createdate']},
        'owner': {'key': ['owner_id']},
        'deal': {
            'key': ['deal_id'],
            'times': ['property_createdate', 'property_closedate'],
            'at': ['property_createdate'],
        },
        'email_event': {'times': ['created'], 'at': ['created'], 'is_event': true},
        'email_campaign': {},
        'engagement': {'times': ['created_at', 'timestamp'], 'at': ['created_at', 'timestamp'], 'is_event': true},
    },
    'salesforce': {
        'account': created,
        'contact': created,
        'user': {},
        'opportunity': {'times': ['created_date', 'close_date'], 'at': ['created_date']},
        'task': {'times': ['created_date', 'activity_date'], 'at': ['created_date'], 'is_event': true},
        'event': {'times': ['created_date', 'start_date_time'], 'at': ['created_date'], 'is_event': true},
        'campaign_member': created,
    },
    'marketo': {
        'lead': made,
        'activity_send_email': activity,
        'activity_email_delivered': activity,
        'activity_open_email': activity,
        'activity_click_email': activity,
        'activity_email_bounced': activity,
        'activity_unsubscribe_email': activity,
    },
    'intercom': {
        'company_history': version,
        'contact_history': version,
        'conversation_history': {
            'key': ['id', 'updated_at', '_fivetran_active'],
            'times': ['created_at', 'updated_at'],
            'numbers': {'conversation_rating_value': number},
            'at': ['created_at'],
            'is_event': true,
        },
    },
    'surveys': {
        'nps_answers': answered,
        'csat_answers': answered,
        'ces_answers': answered,
    },
    'community': {
        'users': made,
        'posts': written,
        'post_comments': written,
        'votes': written,
        'ideas': made,
        'idea_status_changes': {'times': ['changed_at'], 'at': ['changed_at'], 'is_event': true},
    },
    'webinars': {
        'webinar': {'times': ['starts_at'], 'at': ['starts_at']},
        'registration': {
            'times': ['registered_at'],
            'numbers': {'attended_minutes': number},
            'at': ['registered_at'],
            'is_event': true,
        },
    },
    'success_plans': {
        'goal': {'times': ['created_at', 'due_on', 'achieved_at'], 'at': ['created_at']},
    },
} %}
{% set text = dbt.type_string() %}
{% set times_at_most = 10 %}
{% set numbers_at_most = 2 %}
{% set at_at_most = 3 %}
with

-- every row of every raw table that is in use: its key, which of the rows with that key it is, what is to be read of it
raw_rows as (

    {% for source_name, tables in raw_tables.items() if var('sources')[source_name].enabled %}
    {% for table, told in tables.items() %}
    {% set key = told.key or ['id'] %}
    {% set numbers = (told.numbers or {}).items() | list %}
    {% set at = told.at or [] %}
    {# first those that tell when it happened, then those that tell what is known at the clock #}
    {% set dated = at + ([told.arrived] if told.arrived else []) %}
    {% set times = (dated + (told.times or [])) | unique | list %}
    {% set columns = (key + times + (told.numbers or {}).keys() | list) | unique | list %}
    select
        '{{ source_name }}' as source,
        '{{ table }}' as raw_table,
        cast({{ key[0] }} as {{ text }}) as row_key,
        {{ at | length if told.is_event else 0 }} as times_needed,
        {{ dated | length }} as times_by_clock,
        {% for place in range(times_at_most) %}
        {{ 'cast(' ~ adapter.quote(times[place]) ~ ' as ' ~ text ~ ')' if place < times | length else 'null' }} as time_{{ place }},
        {% endfor %}
        {% for place in range(numbers_at_most) %}
        {{ 'cast(' ~ adapter.quote(numbers[place][0]) ~ ' as ' ~ text ~ ')' if place < numbers | length else 'null' }} as number_{{ place }},
        {{ numbers[place][1] if place < numbers | length else 0 }} as number_{{ place }}_at_most,
        {% endfor %}
        row_number() over (partition by {{ key | join(', ') }} order by {{ key[0] }}) as key_rank
    from {{
        stripe(table) if source_name == 'stripe'
        else zendesk(table) if source_name == 'zendesk'
        else posthog_events() if source_name == 'posthog'
        else landed(source_name, table, columns, optional=true)
    }}

    union all

    {% endfor %}
    {% endfor %}
    -- so that there is something to read with every source switched off, and every column has its type
    select
        cast(null as {{ text }}) as source,
        cast(null as {{ text }}) as raw_table,
        cast(null as {{ text }}) as row_key,
        cast(null as integer) as times_needed,
        cast(null as integer) as times_by_clock,
        {% for place in range(times_at_most) %}
        cast(null as {{ text }}) as time_{{ place }},
        {% endfor %}
        {% for place in range(numbers_at_most) %}
        cast(null as {{ text }}) as number_{{ place }},
        cast(null as bigint) as number_{{ place }}_at_most,
        {% endfor %}
        cast(null as bigint) as key_rank
    where 1 = 0

),

-- what was read of it, and whether there was anything to read
read as (

    select
        {% for place in range(times_at_most) %}
        {{ utc_timestamp('time_' ~ place) }} as read_{{ place }},
        {{ is_filled('time_' ~ place) }} as is_filled_{{ place }},
        {% endfor %}
        raw_rows.*
    from raw_rows

),

judged as (

    select
        source,
        raw_table,
        row_key,
        key_rank,
        (
            {% for place in range(times_at_most) %}
            {{ 'or ' if not loop.first }}(is_filled_{{ place }} and read_{{ place }} is null)
            {% endfor %}
        ) as has_unreadable_time,
        (
            {% for place in range(numbers_at_most) %}
            {{ 'or ' if not loop.first }}(
                {{ is_filled('number_' ~ place) }}
                and {{ whole_number('number_' ~ place, 'number_' ~ place ~ '_at_most') }} is null
            )
            {% endfor %}
        ) as has_unreadable_number,
        (
            times_needed > 0
            {% for place in range(at_at_most) %}
            and (times_needed <= {{ place }} or not is_filled_{{ place }})
            {% endfor %}
        ) as is_without_time,
        (
            {% for place in range(at_at_most) %}
            {{ 'or ' if not loop.first }}(times_by_clock > {{ place }} and coalesce(read_{{ place }} > {{ as_of_at() }}, false))
            {% endfor %}
        ) as is_after_clock
    from read

),

-- of a row landed again only the first is judged by its time, so that rows add up
broken as (

    {% for rule, condition in {
        'without_key': 'row_key is null',
        'landed_again': 'row_key is not null and key_rank > 1',
        'with_unreadable_time': 'has_unreadable_time',
        'with_unreadable_number': 'has_unreadable_number',
        'without_time': 'is_without_time and row_key is not null and key_rank = 1',
        'after_the_clock': 'is_after_clock and row_key is not null and key_rank = 1',
    }.items() %}
    select
        source,
        {{ dbt.concat(['raw_table', "'_" ~ rule ~ "'"]) }} as rule,
        row_key
    from judged
    where {{ condition }}
    {% if not loop.last %}

    union all

    {% endif %}
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
