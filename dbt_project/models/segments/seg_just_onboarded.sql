-- Contacts of customers that have only just reached first value: what comes next is theirs to learn now.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Just onboarded",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

reached as (

    select
        customer_id,
        first_value_at,
        {{ days_between('first_value_at', as_of_date()) }} as days_since_first_value
    from journey
    where
        journey_stage in ('adoption', 'growth')
        and first_value_at is not null

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        reached.days_since_first_value,
        {{ sentence(["'First value was reached on '", 'cast(reached.first_value_at as date)']) }} as reason
    from contacts
    inner join reached
        on contacts.customer_id = reached.customer_id
    where
        reached.days_since_first_value < {{ threshold('just_onboarded_days') }}
        and contacts.role in ('admin', 'operator')

)

select * from final
