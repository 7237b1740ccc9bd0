-- People who carry the product in their company: named so in the CRM, or working in it most days and widely.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Champions",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        case
            when
                contacts.active_days_28d >= {{ threshold('champion_min_active_days') }}
                and contacts.features_28d >= {{ threshold('champion_min_features') }}
                then {{ sentence([
                    "'Active on '",
                    'contacts.active_days_28d',
                    "' of 28 days, '",
                    'contacts.features_28d',
                    "' features'",
                ]) }}
            else {{ sentence(["'Named a champion in the CRM; active on '", 'contacts.active_days_28d', "' of 28 days'"]) }}
        end as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    where
        contacts.is_champion
        and customers.journey_stage <> 'churned'

)

select * from final
