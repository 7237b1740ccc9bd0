-- People who work in the product, in the group of their industry and of what their company uses most: whom they learn from.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "user_group",
    "list": "User group",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

plan as (

    select * from {{ ref('customer_touch_plan') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        plan.user_group,
        {{ sentence([
            "'Industry and main use: '",
            'plan.user_group',
            "'; active on '",
            'contacts.active_days_28d',
            "' of 28 days'",
        ]) }} as reason
    from contacts
    inner join plan
        on contacts.customer_id = plan.customer_id
    where
        plan.journey_stage <> 'churned'
        and contacts.active_days_28d > 0

)

select * from final
