-- People who work in the product often, are not in the community yet and may be invited: not while their company is at risk.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Community invitees",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

plan as (

    select * from {{ ref('customer_touch_plan') }}

),

community_users as (

    select * from {{ ref('stg_community__users') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

reachable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'marketing'
        and is_allowed

),

-- also by an address that the person has left
members as (

    select distinct links.contact_id
    from community_users
    inner join links
        on community_users.email = links.email
    where
        links.is_kept
        and links.record_kind <> 'cookie'

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "'Active on '",
            'contacts.active_days_28d',
            "' of 28 days and not in the community'",
        ]) }} as reason
    from contacts
    inner join plan
        on contacts.customer_id = plan.customer_id
    inner join reachable
        on contacts.contact_id = reachable.contact_id
    left join members
        on contacts.contact_id = members.contact_id
    where
        members.contact_id is null
        and contacts.active_days_28d >= {{ threshold('community_invite_min_active_days') }}
        and plan.journey_stage in ('adoption', 'growth')
        and not plan.is_at_risk

)

select * from final
