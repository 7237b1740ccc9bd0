-- Nobody who was ever on trial or paying is lost on the way, but our own test accounts.
{{ config(meta={"dagster": {"ref": {"name": "customers"}}}) }}
with

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

stripe_customers as (

    select * from {{ ref('stg_stripe__customers') }}

),

customers as (

    select * from {{ ref('customers') }}

),

internal_domains as (

    select * from {{ ref('internal_domains') }}

),

final as (

    select distinct subscriptions.stripe_customer_id
    from subscriptions
    inner join stripe_customers
        on subscriptions.stripe_customer_id = stripe_customers.stripe_customer_id
    left join internal_domains
        on {{ email_domain('stripe_customers.email') }} = internal_domains.domain
    left join customers
        on subscriptions.stripe_customer_id = customers.customer_id
    where
        customers.customer_id is null
        and internal_domains.domain is null
        and coalesce(subscriptions.status, '') not in ('incomplete', 'incomplete_expired')

)

select * from final
