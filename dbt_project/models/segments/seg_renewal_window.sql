-- People at customers whose term ends soon enough to talk about it: those who decide hear what it brought, those who work
-- in the product what is still to gain.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "audience",
    "list": "Renewal window",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        case when contacts.role = 'decision_maker' then 'decision makers' else 'operators' end as audience,
        journey.renewal_date,
        case
            when contacts.role = 'decision_maker' then {{ sentence([
                "'Decides on the renewal in '",
                'journey.days_to_renewal',
                "' days: '",
                'customers.seats_used',
                "' of '",
                'customers.seats_bought',
                "' seats in use, health '",
                'customers.health_band',
            ]) }}
            else {{ sentence([
                "'Works with it, renewal in '",
                'journey.days_to_renewal',
                "' days: active on '",
                'contacts.active_days_28d',
                "' of 28 days, '",
                'contacts.features_28d',
                "' features'",
            ]) }}
        end as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join journey
        on contacts.customer_id = journey.customer_id
    where
        journey.is_in_renewal_window
        and journey.journey_stage <> 'churned'
        and contacts.role in ('decision_maker', 'admin', 'operator')

)

select * from final
