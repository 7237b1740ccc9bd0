-- Customers by what they are worth and what they could become: the cells of the matrix that the touch follows.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "object": "customer",
    "key": "customer_id",
    "group_key": "size_potential",
    "list": "Size and potential",
}}) }}

with

customers as (

    select * from {{ ref('customers') }}

),

plan as (

    select * from {{ ref('customer_touch_plan') }}

),

final as (

    select
        customers.customer_id,
        plan.size_potential,
        {{ sentence([
            "'Size '",
            'customers.tier',
            "' (expected lifetime value '",
            'customers.ltv',
            "' '",
            'customers.mrr_currency',
            "'), potential '",
            'customers.potential',
        ]) }} as reason
    from customers
    inner join plan
        on customers.customer_id = plan.customer_id
    where customers.journey_stage <> 'churned'

)

select * from final
