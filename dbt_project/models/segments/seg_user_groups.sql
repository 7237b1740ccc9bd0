-- People who work in the product, in the group of their industry and of what their company uses most: whom they learn from.
-- A group has people of several customers, or there is nobody to learn from.
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

active as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        contacts.active_days_28d,
        plan.user_group
    from contacts
    inner join plan
        on contacts.customer_id = plan.customer_id
    where
        plan.journey_stage <> 'churned'
        and contacts.active_days_28d > 0

),

large_enough as (

    select user_group
    from active
    group by user_group
    having count(distinct customer_id) >= {{ threshold('user_group_min_customers') }}

),

final as (

    select
        active.contact_id,
        active.customer_id,
        active.email,
        active.user_group,
        {{ sentence([
            "'Industry and main use: '",
            'active.user_group',
            "'; active on '",
            'active.active_days_28d',
            "' of 28 days'",
        ]) }} as reason
    from active
    inner join large_enough
        on active.user_group = large_enough.user_group

)

select * from final
