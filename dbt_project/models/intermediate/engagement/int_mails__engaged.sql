-- Each delivered mail with whether a person, not a scanner, opened it or clicked in it.
with

email_events as (

    select * from {{ ref('stg_hubspot__email_events') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

delivered as (

    select
        sent_by_id,
        email,
        min(occurred_at) as delivered_at
    from email_events
    where event_type = 'DELIVERED'
    group by sent_by_id, email

),

reactions as (

    select
        sent_by_id,
        min(occurred_at) as reacted_at
    from email_events
    where
        event_type in ('OPEN', 'CLICK')
        and not is_filtered
    group by sent_by_id

),

final as (

    select
        delivered.sent_by_id,
        contacts.customer_id,
        contacts.contact_id,
        cast(delivered.delivered_at as date) as delivered_date,
        cast(reactions.reacted_at as date) as reacted_date
    from delivered
    inner join contacts
        on delivered.email = contacts.email
    left join reactions
        on delivered.sent_by_id = reactions.sent_by_id

)

select * from final
