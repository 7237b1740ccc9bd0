-- Addresses that must not be written to, whatever else is true: unsubscribed, bounced for good, complained. What one tool
-- knows counts in all of them.
with

email_events as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__email_events', 'marketo': 'stg_marketo__email_events'},
        {
            'email_event_id': dbt.type_string(),
            'event_type': dbt.type_string(),
            'email': dbt.type_string(),
            'subscription_status': dbt.type_string(),
            'smtp_status': dbt.type_string(),
            'occurred_at': dbt.type_timestamp(),
        },
        {'hubspot': {'subscription_status': 'null', 'smtp_status': 'null'}},
    ) }}

),

bounces as (

    select * from {{ ref('stg_hubspot__email_bounces') }}

),

status_changes as (

    select * from {{ ref('stg_hubspot__email_status_changes') }}

),

-- tools that keep the state of a person and not the moment it changed
opt_outs as (

    select *
    from {{ sources_union(
        {'marketo': 'stg_marketo__leads', 'intercom': 'stg_intercom__contacts', 'salesforce': 'stg_salesforce__contacts'},
        {
            'email': dbt.type_string(),
            'has_opted_out': 'boolean',
            'is_invalid': 'boolean',
            'told_at': dbt.type_timestamp(),
        },
        {
            'marketo': {'told_at': 'coalesce(updated_at, loaded_at, created_at)'},
            'intercom': {'told_at': 'coalesce(updated_at, loaded_at, created_at)', 'is_invalid': 'false'},
            'salesforce': {'told_at': 'coalesce(loaded_at, created_at)', 'is_invalid': 'false'},
        },
    ) }}

),

-- what our own tools and mails told: by address, or by the contact that a mail's link names
feedback as (

    select * from {{ ref('stg_activation__feedback') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

-- the latest word of a recipient on their subscription counts, in each tool
ranked_status_changes as (

    select
        email_events.email,
        email_events.occurred_at,
        coalesce(status_changes.subscription_status, email_events.subscription_status) as subscription_status,
        row_number() over (
            partition by email_events.source_name, email_events.email
            order by email_events.occurred_at desc, email_events.email_event_id desc
        ) as recency
    from email_events
    left join status_changes
        on
            email_events.source_name = 'hubspot'
            and email_events.email_event_id = status_changes.email_event_id
    where coalesce(status_changes.subscription_status, email_events.subscription_status) is not null

),

found as (

    select
        email,
        'unsubscribed' as reason,
        occurred_at as suppressed_at
    from ranked_status_changes
    where
        recency = 1
        and subscription_status = 'UNSUBSCRIBED'

    union all

    select
        email,
        'unsubscribed' as reason,
        told_at as suppressed_at
    from opt_outs
    where has_opted_out

    union all

    select
        email_events.email,
        'bounced' as reason,
        email_events.occurred_at as suppressed_at
    from email_events
    left join bounces
        on
            email_events.source_name = 'hubspot'
            and email_events.email_event_id = bounces.email_event_id
    -- a 5xx is for good, a 4xx is for now
    where coalesce(bounces.smtp_status, email_events.smtp_status) like '5%'

    union all

    select
        email,
        'bounced' as reason,
        told_at as suppressed_at
    from opt_outs
    where is_invalid

    union all

    select
        email,
        'complained' as reason,
        occurred_at as suppressed_at
    from email_events
    where event_type = 'SPAMREPORT'

    union all

    -- the ledger took it as final the moment it came: no later word is asked for
    select
        coalesce(feedback.email, contacts.email) as email,
        feedback.kind as reason,
        feedback.occurred_at as suppressed_at
    from feedback
    left join contacts on feedback.contact_id = contacts.contact_id
    where feedback.kind in ('unsubscribed', 'bounced', 'complained')

),

final as (

    select
        email,
        reason,
        min(suppressed_at) as suppressed_at
    from found
    where email is not null
    group by email, reason

)

select * from final
