-- Addresses that must not be written to, whatever else is true: unsubscribed, bounced for good, complained.
with

email_events as (

    select * from {{ ref('stg_hubspot__email_events') }}

),

bounces as (

    select * from {{ ref('stg_hubspot__email_bounces') }}

),

status_changes as (

    select * from {{ ref('stg_hubspot__email_status_changes') }}

),

-- the latest word of a recipient on their subscription counts
ranked_status_changes as (

    select
        email_events.email,
        email_events.occurred_at,
        status_changes.subscription_status,
        row_number() over (
            partition by email_events.email
            order by email_events.occurred_at desc, email_events.email_event_id desc
        ) as recency
    from email_events
    inner join status_changes
        on email_events.email_event_id = status_changes.email_event_id

),

final as (

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
        email_events.email,
        'bounced' as reason,
        min(email_events.occurred_at) as suppressed_at
    from email_events
    inner join bounces
        on email_events.email_event_id = bounces.email_event_id
    -- a 5xx is for good, a 4xx is for now
    where bounces.smtp_status like '5%'
    group by email_events.email

    union all

    select
        email,
        'complained' as reason,
        min(occurred_at) as suppressed_at
    from email_events
    where event_type = 'SPAMREPORT'
    group by email

)

select * from final
