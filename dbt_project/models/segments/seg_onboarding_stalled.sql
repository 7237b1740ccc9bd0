-- Contacts of customers whose onboarding has gone on for too long without first value: they need a hand, not a campaign.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Onboarding stalled",
}}) }}

with

customers as (

    select * from {{ ref('customers') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        journey.days_since_start,
        {{ sentence(["'Day '", 'journey.days_since_start', "' of onboarding without a shared dashboard'"]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join journey
        on customers.customer_id = journey.customer_id
    where
        customers.journey_stage in ('presales', 'onboarding')
        and journey.first_value_at is null
        and journey.days_since_start >= {{ threshold('onboarding_stalled_after_days') }}
        and contacts.role in ('admin', 'operator')

)

select * from final
