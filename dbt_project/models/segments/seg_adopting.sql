-- People who work in the product at customers in adoption, by how well they know it: each level has its own lessons.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "proficiency",
    "list": "Adopting",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

proficient as (

    select * from {{ ref('int_contacts__proficient') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        proficient.proficiency,
        {{ sentence([
            "'In adoption, '",
            'proficient.proficiency',
            "': active on '",
            'contacts.active_days_28d',
            "' of 28 days, '",
            'contacts.features_28d',
            "' features'",
        ]) }} as reason
    from contacts
    inner join journey
        on contacts.customer_id = journey.customer_id
    inner join proficient
        on contacts.contact_id = proficient.contact_id
    where
        journey.journey_stage = 'adoption'
        and contacts.active_days_28d > 0

)

select * from final
