-- Who is a customer: a Stripe customer that was ever on trial or paid, without our own test accounts. A subscription whose
-- first payment never came through is neither.
with

stripe_customers as (

    select * from {{ ref('stg_stripe__customers') }}

),

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

internal_domains as (

    select * from {{ ref('internal_domains') }}

),

subscribers as (

    select stripe_customer_id
    from versions
    where coalesce(status, '') not in ('incomplete', 'incomplete_expired')

    union distinct

    -- also where no version can tell from when it held
    select stripe_customer_id
    from subscriptions
    where coalesce(status, '') not in ('incomplete', 'incomplete_expired')

),

final as (

    select
        stripe_customers.stripe_customer_id as customer_id,
        stripe_customers.customer_name,
        stripe_customers.workspace_id,
        {{ email_domain('stripe_customers.email') }} as domain,
        stripe_customers.country,
        stripe_customers.currency,
        stripe_customers.created_at
    from stripe_customers
    inner join subscribers
        on stripe_customers.stripe_customer_id = subscribers.stripe_customer_id
    left join internal_domains
        on {{ email_domain('stripe_customers.email') }} = internal_domains.domain
    where internal_domains.domain is null

)

select * from final
