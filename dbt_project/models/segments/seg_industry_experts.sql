-- People who know the product best, by industry: speakers, reviewers and case studies for their peers.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "industry",
    "list": "Experts",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

proficient as (

    select * from {{ ref('int_contacts__proficient') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        coalesce(customers.industry, 'All industries') as industry,
        {{ sentence([
            "'Expert: active on '",
            'contacts.active_days_28d',
            "' of 28 days, '",
            'contacts.features_28d',
            "' features'",
        ]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join proficient
        on contacts.contact_id = proficient.contact_id
    where
        proficient.proficiency = 'expert'
        and customers.journey_stage <> 'churned'

)

select * from final
