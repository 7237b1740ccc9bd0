-- Each delivered mail with whether a person, not a scanner, opened it or clicked in it.
with

email_events as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__email_events', 'marketo': 'stg_marketo__email_events'},
        {
            'sent_by_id': dbt.type_string(),
            'email_campaign_id': dbt.type_string(),
            'event_type': dbt.type_string(),
            'email': dbt.type_string(),
            'is_filtered': 'boolean',
            'occurred_at': dbt.type_timestamp(),
        },
    ) }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

-- also at an address that the person has left
addresses as (

    select
        email,
        min(contact_id) as contact_id
    from links
    where
        is_kept
        and record_kind <> 'cookie'
    group by email

),

delivered as (

    select
        source_name,
        sent_by_id,
        email,
        min(email_campaign_id) as email_campaign_id,
        min(occurred_at) as delivered_at
    from email_events
    where event_type = 'DELIVERED'
    group by source_name, sent_by_id, email

),

reactions as (

    select
        source_name,
        sent_by_id,
        min(occurred_at) as reacted_at,
        min(case when event_type = 'CLICK' then occurred_at end) as clicked_at
    from email_events
    where
        event_type in ('OPEN', 'CLICK')
        and not is_filtered
    group by source_name, sent_by_id

),

final as (

    select
        delivered.sent_by_id,
        delivered.source_name,
        delivered.email_campaign_id,
        contacts.customer_id,
        contacts.contact_id,
        delivered.delivered_at,
        reactions.reacted_at,
        reactions.clicked_at,
        cast(delivered.delivered_at as date) as delivered_date,
        cast(reactions.reacted_at as date) as reacted_date
    from delivered
    inner join addresses
        on delivered.email = addresses.email
    inner join contacts
        on addresses.contact_id = contacts.contact_id
    left join reactions
        on
            delivered.source_name = reactions.source_name
            and delivered.sent_by_id = reactions.sent_by_id

)

select * from final
