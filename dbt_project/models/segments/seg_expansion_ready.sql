-- Those who decide at customers that have outgrown what they bought, and who may be offered more.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Expansion ready",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

signals as (

    select * from {{ ref('customer_signals') }}

),

reachable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'marketing'
        and is_allowed

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "'Healthy, seats nearly full ('",
            'customers.seats_used',
            "' used of '",
            'customers.seats_bought',
            "'), views of upper plans in 30 days: '",
            'signals.upper_plan_views_30d',
        ]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join signals
        on contacts.customer_id = signals.customer_id
    inner join reachable
        on contacts.contact_id = reachable.contact_id
    where
        signals.is_expansion_ready
        and customers.journey_stage <> 'churned'
        and contacts.role in ('decision_maker', 'admin')

)

select * from final
