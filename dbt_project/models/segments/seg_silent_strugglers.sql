-- People at customers who use little and say nothing: they need an offer of help that they did not ask for.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Silent strugglers",
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

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "'Uses little for its peers; '",
            "case"
            " when signals.days_since_heard is null then 'never asked or answered anything'"
            " else 'last heard of ' || cast(signals.days_since_heard as " ~ dbt.type_string() ~ ") || ' days ago' end",
        ]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join signals
        on contacts.customer_id = signals.customer_id
    where
        signals.is_silent_struggler
        and customers.journey_stage <> 'churned'
        and contacts.role in ('admin', 'operator')

)

select * from final
