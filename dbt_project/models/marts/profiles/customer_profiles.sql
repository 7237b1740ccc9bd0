-- What the tools may know of a customer. Each column is a property of that name in the tool.
{{ config(meta={"sync": {
    "kind": "profile",
    "destinations": ["hubspot"],
    "object": "customer",
    "key": "customer_id",
}}) }}

with

customers as (

    select * from {{ ref('customers') }}

),

final as (

    select
        customer_id,
        customer_name as name,
        domain,
        journey_stage,
        health_band,
        health_score,
        mrr,
        mrr_currency,
        seats_bought,
        seats_used,
        renewal_date
    from customers

)

select * from final
