-- Everybody at customers at risk: what is sent to them is help, and campaigns leave them out.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "At risk",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

plan as (

    select * from {{ ref('customer_touch_plan') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "case"
            " when health.health_band = 'risk' then 'Health is at risk. '"
            " when plan.reason = 'silent_struggler' then 'Struggles in silence. '"
            " else 'Health was at risk of late. ' end",
            'plan.drivers_en',
        ]) }} as reason
    from contacts
    inner join plan
        on contacts.customer_id = plan.customer_id
    inner join health
        on contacts.customer_id = health.customer_id
    where
        plan.is_at_risk
        and plan.journey_stage <> 'churned'

)

select * from final
